"""Until when neighbour lists hold, on all ranks.

Lists hold all pairs closer than r_c + skin at the last rebuild. With D = C_ref^-1 C the deformation of the cell
since then, sigma the smallest singular value of D and d the largest |r - r_ref D| of any atom, every pair within
r_c is still listed as long as

    2 d + (1 - sigma) (r_c + skin) < skin

(the pair distance is at least sigma r_ref - 2 d). The same bound keeps the halo deep enough.

d is a maximum over all atoms and ranks. Nobody has to wait for it before computing forces: it may be asked for
first and looked at last. If lists then turn out not to hold, forces are computed once more, with new lists. So
what a run computes does not depend on when it looks; `nearly_over` only saves the forces computed in vain.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator, Maximum
from hpcthermo.domain.grid import frame_cell
from hpcthermo.errors import PhysicsError
from hpcthermo.gpu.backend import Backend, Reading
from hpcthermo.system import System

#: strain since the last rebuild that asks for a new one, and for which packed frames leave room
STRAIN_LIMIT = 0.01
#: displacement^2 that kernels/halo.h reports for a position that is not a number
_NOT_FINITE = 1e300


class ListCriterion:
    """The criterion for one engine.

    Attributes
    ----------
    reference : (n_owned, 3) float64, device, or None
        Positions of the last rebuild; None if there are no lists.
    reference_cell : (3, 3) float64
    deformation : (3, 3) float64, device
        D, as of the last `follow`.
    largest : (2,) float64, device
        Squares of the largest displacement on this rank: of this call in `slot`, 0 in the other.
    slot : int
    displacement : float
        d of the last look, A.
    """

    def __init__(self, backend: Backend, comm: Communicator, cutoff: float, cell: np.ndarray) -> None:
        self._backend = backend
        self._comm = comm
        self._cutoff = cutoff
        self._skin = 0.0
        self.reference: Any | None = None
        self.reference_cell = cell.copy()
        self.deformation: Any = None
        self.largest = backend.xp.zeros(2)
        self.slot = 0
        self.displacement = 0.0
        self._cell: np.ndarray | None = None
        self._strain = 0.0
        self._smallest_stretch = 1.0
        # displacement at the last look since the rebuild, and its growth from look to look
        self._passed = 0.0
        self._growth: float | None = None

    def forget(self) -> None:
        """There are no lists any more."""
        self.reference = None
        self._growth = None

    def begin(self, system: System, skin: float) -> None:
        """Lists are made from the present positions."""
        self.reference = system.positions[:system.n_owned].copy()
        self.reference_cell = system.cell.copy()
        self._skin, self._cell, self._passed = skin, None, 0.0

    def follow(self, cell: np.ndarray) -> None:
        """Deformation since the last rebuild, if the cell has changed."""
        if self._cell is not None and np.array_equal(cell, self._cell):
            return
        self._cell = cell.copy()
        if np.array_equal(cell, self.reference_cell):
            deformation = np.eye(3)
        else:
            deformation = np.linalg.inv(frame_cell(self.reference_cell)) @ frame_cell(cell)
        self._smallest_stretch = min(1.0, float(np.linalg.svd(deformation, compute_uv=False)[-1]))
        self._strain = float(np.linalg.norm(deformation - np.eye(3), 2))
        self.deformation = self._backend.xp.asarray(deformation)

    def nearly_over(self) -> bool:
        """Whether lists may well not hold at the present positions, judging by the last looks."""
        return self._growth is None or self._ended(self._passed + 2.0 * self._growth)

    def look(self, flag: int) -> Look:
        """Ask for the largest displacement and flag, when the kernel that measures it is under way."""
        return Look(self, self._backend.begin_read(self.largest[self.slot:self.slot + 1]), float(flag), self._comm)

    def judge(self, largest_square: float) -> bool:
        """Whether lists have ended, given the largest squared displacement of all ranks.

        Raises
        ------
        PhysicsError
            On all ranks, if a position is not finite.
        """
        if largest_square >= _NOT_FINITE:
            raise PhysicsError("positions are not finite any more; reduce the timestep or relax the structure first")
        self.displacement = math.sqrt(largest_square)
        # a second look at the same positions says nothing about the next step
        self._growth = max(self.displacement - self._passed, 0.5 * (self._growth or 0.0))
        self._passed = self.displacement
        return self._ended(self.displacement)

    def _ended(self, displacement: float) -> bool:
        slack = self._skin - (1.0 - self._smallest_stretch) * (self._cutoff + self._skin)
        return slack <= 0.0 or 2.0 * displacement > slack or self._strain > STRAIN_LIMIT


class Look:
    """A displacement that has been asked for.

    Attributes
    ----------
    flag : int
        The largest flag of all ranks, after `ended`.
    """

    def __init__(self, criterion: ListCriterion, reading: Reading, flag: float, comm: Communicator) -> None:
        self._criterion = criterion
        self._reading = reading
        self._comm = comm
        self._maximum: Maximum | None = None
        self._own_flag = flag
        self.flag = 0

    def reduce(self) -> None:
        """Send this rank's displacement to the others."""
        if self._maximum is None:
            self._maximum = self._comm.begin_max(np.array([self._reading.value()[0], self._own_flag]))

    def ended(self) -> bool:
        """Wait for all ranks; whether lists have ended."""
        self.reduce()
        assert self._maximum is not None
        largest, flag = self._maximum.value().tolist()
        self.flag = int(flag)
        return self._criterion.judge(largest)
