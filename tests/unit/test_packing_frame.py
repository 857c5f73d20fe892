"""The frame of fixed-point positions: refused before its steps are coarser than float32 would be."""

import numpy as np
import pytest
from ase import Atoms

from hpcthermo.domain.comm import SingleProcess
from hpcthermo.engine import make_engine
from hpcthermo.errors import ResourceError
from hpcthermo.gpu.backend import make_backend
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure import make_snapshot


def energy_of_two_pairs(distance: float, precision: str) -> float:
    """Two silicon dimers far apart."""
    positions = np.array([[0.0, 0, 0], [2.3, 0, 0], [distance, 0, 0], [distance + 2.3, 0, 0]])
    atoms = Atoms("Si4", positions)
    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), positions)
    engine = make_engine(snapshot, load_potential("tersoff_si"), SingleProcess(), make_backend("cpu", precision), 1.0)
    engine.compute()
    return engine.potential_energy()


def test_a_frame_too_long_for_mixed_precision_is_refused():
    with pytest.raises(ResourceError, match="more ranks along that direction"):
        energy_of_two_pairs(2200.0, "mixed")
    far, exact = energy_of_two_pairs(2000.0, "mixed"), energy_of_two_pairs(2200.0, "double")
    assert far == pytest.approx(exact, rel=1e-5)
