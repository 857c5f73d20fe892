"""Heat transport with machine-learned potentials."""
