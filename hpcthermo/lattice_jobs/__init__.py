"""Jobs about lattice vibrations: force constants, phonons, the Boltzmann equation and its convergence."""
