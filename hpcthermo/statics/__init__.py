"""Properties of crystals at rest: relaxed structures, lattice constants, elastic constants."""
