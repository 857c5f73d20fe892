"""The phonon Boltzmann equation."""
