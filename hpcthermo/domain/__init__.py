"""Domain decomposition: ranks, bricks, halos, migration."""
