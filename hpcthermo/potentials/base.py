"""What the engine asks of a potential.

A potential is a sum of site energies, E = sum_i U_i({r_ij}), r_ij = r_j - r_i. With the partial
forces f_ij = dU_i/dr_ij of an owned atom i it adds

    F_i += f_ij        F_j -= f_ij        W_j -= r_ij (x) f_ij

to the rows of i and of its neighbours j, owned or ghost. Ghost rows travel back to their owners
afterwards, so every owned atom is computed once, on one rank.

The virial of the system is sum r (x) F over all rows, before ghost rows go home. A pair potential may instead
see each pair from both sides and put its whole force on owned rows; then that sum lacks
sum_i W_i - r_i (x) F_i, which the potential adds to `ForceArrays.total_virial`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hpcthermo.gpu.backend import Backend
from hpcthermo.neighbors import PackedPositions
from hpcthermo.system import System

#: partial sums of the total virial, TOTAL_VIRIAL_ROWS of the kernels
TOTAL_VIRIAL_ROWS = 32


@dataclass
class ForceArrays:
    """Output rows; every potential adds to them.

    Attributes
    ----------
    energies : (n_owned,) float64
        Site energies U_i, eV.
    forces : (n_total + 1, 4) float64
        eV/A; fourth column unused; the last row takes what padding slots scatter.
    virials : (n_total + 1, 12) float64 or None
        None on steps that do not sample it. Else what is scattered to neighbours: (W_xb, W_yb, W_zb, F_b) of force
        component b at ``4 b``, so that one row takes -f_b (x, y, z, 1) and forces need no row of their own. W_ab is the
        neighbour-centred per-atom virial, eV, F_b a force that ``forces`` does not contain yet (`settle_forces`).
    total_virial : (TOTAL_VIRIAL_ROWS, 9) float64 or None
        Partial sums of what the virial of the force rows lacks, eV. None if nobody asks.
    """

    energies: Any
    forces: Any
    virials: Any | None
    total_virial: Any | None = None


def settle_forces(output: ForceArrays, n_rows: int, backend: Backend) -> None:
    """Add the force columns of the first `n_rows` virial rows to the force rows, once ghost rows have gone home."""
    backend.launch("halo", "settle_forces", 0, n_rows, output.virials, output.forces, per="thread")


@dataclass(frozen=True)
class Limits:
    """What a potential cannot do, each as "reason; what to do instead"; None for what it can.

    Attributes
    ----------
    decomposition : str or None
        More than one rank.
    total_virial : str or None
        The virial of the system, so pressure and cells that change.
    atom_virials : str or None
        Per-atom virials, so heat currents.
    """

    decomposition: str | None = None
    total_virial: str | None = None
    atom_virials: str | None = None

    def require(self, ability: str, wanted_by: str) -> None:
        """Refuse what the potential cannot do.

        Raises
        ------
        InputError
            Naming who wants it, the reason and what to do.
        """
        from hpcthermo.errors import InputError

        reason = getattr(self, ability)
        if reason is not None:
            raise InputError(f"{wanted_by}: {reason}")


def limits_of(potential: Any) -> Limits:
    """The limits that a potential states in ``limits``; most have none."""
    return getattr(potential, "limits", Limits())


class FieldExchange(Protocol):
    """Ghost exchange of per-atom fields in the middle of a force call."""

    def forward(self, field: Any) -> None:
        """Fill ghost rows of ``field`` (n_total, k) from their owners."""

    def reverse(self, field: Any) -> None:
        """Add ghost rows of ``field`` to their owners' rows."""


class BoundPotential(Protocol):
    """A potential with its parameters on the device, for one species table.

    Attributes
    ----------
    cutoff : float
        Longest interaction distance, A.
    ghost_depth : float
        How far ghosts must reach beyond owned atoms without skin, A (the cutoff for most).
    exchanges_fields : bool
        True if `compute` is to be called once for all owned atoms: it uses the field exchange, or cannot take parts.
    """

    cutoff: float
    ghost_depth: float
    exchanges_fields: bool

    def build_lists(self, system: System, skin: float) -> None:
        """Build the neighbour lists for the present owned and ghost rows."""

    def compute(self, system: System, packed: PackedPositions, begin: int, end: int, output: ForceArrays,
                exchange: FieldExchange | None = None) -> None:
        """Add energies, forces and, if asked for, virials of the owned atoms [begin, end)."""


class Potential(Protocol):
    """Parameters as read from a file or by name, independent of device and system.

    Attributes
    ----------
    style : str
        One of `hpcthermo.potentials.formats.STYLES`, or "overlay".
    elements : tuple of str
        Chemical symbols it has parameters for.
    sums_in_order : bool
        Whether its sums on a GPU do not depend on the order in which threads come, so that runs end in the same bits.
    """

    style: str
    elements: tuple[str, ...]
    sums_in_order: bool

    def bind(self, species: tuple[str, ...], backend: Backend) -> BoundPotential:
        """Put the parameters on the device for this species table.

        Raises
        ------
        InputError
            If a species has no parameters.
        """


def require_species(style: str, known: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Index into `known` of each wanted species.

    Raises
    ------
    InputError
        Naming the species without parameters.
    """
    from hpcthermo.errors import InputError

    missing = [s for s in wanted if s not in known]
    if missing:
        raise InputError(
            f"{style} potential: no parameters for {', '.join(missing)}; it knows {', '.join(known)}; "
            "choose another potential or correct the species"
        )
    return np.array([known.index(s) for s in wanted], dtype=np.int32)


def require_layers(system: System, source: str, reason: str, remedy: str = "") -> None:
    """Refuse a system in which some atoms belong to no layer.

    Raises
    ------
    InputError
        Saying what needs the layers, and the remedy beside numbering them.
    """
    from hpcthermo.errors import InputError

    if system.n_total and int(system.layers[:system.n_total].min()) < 0:
        raise InputError(f"{source}: {reason} needs the layer of every atom, but some have none; "
                         f"give an integer array 'layer' in the structure{remedy}")
