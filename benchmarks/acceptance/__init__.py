"""What phonons and the Boltzmann equation are held against, a module for each kind of reference."""

import sys

from record import ROOT

# oracles and cases that the tests have too
sys.path[:0] = [str(ROOT / "tests" / part) for part in ("kernels", "unit", "physics")]
