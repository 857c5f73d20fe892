"""``python -m hpcthermo``; under MPI ``python -m mpi4py -m hpcthermo``."""

from hpcthermo.cli import main

if __name__ == "__main__":
    main()
