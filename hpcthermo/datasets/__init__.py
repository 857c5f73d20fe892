"""Data sets: structures with energies, forces and virials, from which potentials are trained."""
