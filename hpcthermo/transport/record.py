"""What a NEMD run leaves in results.h5, group ``nemd``: raw sums, ledgers and the layout, each with its unit.

With several replicas there is a group ``replica_000/nemd`` and so on for each instead. The table `FIELDS` is the
schema. Symbols of shapes: r rows in time, g groups.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hpcthermo.errors import InputError
from hpcthermo.results import Quantity, Results

GROUP = "nemd"
#: beginning of the group of a replica
REPLICA = "replica_"

#: field of `NemdRecord` -> (unit, description)
FIELDS: dict[str, tuple[str, str]] = {
    "time": ("ps", "(r) end of each row since the start of the experiment"),
    "warmup": ("ps", "rows up to this time are not analysed"),
    "area": ("A^2", "cross section normal to the heat flow"),
    "source_temperature": ("K", "target of the source"),
    "sink_temperature": ("K", "target of the sink"),
    "interface": ("1", "(2) neighbouring blocks below and above the interface; empty without one"),
    "source_energy": ("eV", "(r) energy the source has given to the atoms, end of the row"),
    "sink_energy": ("eV", "(r) energy the sink has given to the atoms, end of the row"),
    "group_kinetic_energy": ("eV", "(r, g) mean over the row"),
    "group_coordinate_sum": ("A", "(r, g) sum over atoms of the coordinate along the axis, mean over the row"),
    "group_energy": ("eV", "(r, g) kinetic plus site energy, end of the row"),
    "group_heat_current": ("eV A/ps", "(r, g) sum over atoms of the heat current along the axis, mean over the row"),
    "bin_edges": ("A", "(bins + 1) edges along the axis of bins by present coordinate"),
    "bin_kinetic_energy": ("eV", "(rows, bins) mean over the row"),
    "bin_atoms": ("1", "(rows, bins) moving atoms, mean over the row"),
    "group_block": ("1", "(g) layer or slab of the group, low to high along the axis"),
    "group_role": ("1", "(g) 0 free, 1 fixed, 2 source, 3 sink"),
    "group_atoms": ("1", "(g) number of atoms"),
    "group_composition": ("1", "(g) species in the group"),
}
#: fields that a run has only if its job asks for them
_OPTIONAL = ("group_heat_current", "bin_edges", "bin_kinetic_energy", "bin_atoms")


@dataclass(frozen=True)
class NemdRecord:
    """One run as stored; units and shapes as in `FIELDS`.

    Attributes
    ----------
    interface : (int, int) or None
    group_heat_current : (r, g) float64 or None
        None if it was not measured.
    group_composition : tuple of str
    bin_edges, bin_kinetic_energy, bin_atoms : float64 or None
        None without bins by present coordinate.
    """

    time: np.ndarray
    warmup: float
    area: float
    source_temperature: float
    sink_temperature: float
    interface: tuple[int, int] | None
    source_energy: np.ndarray
    sink_energy: np.ndarray
    group_kinetic_energy: np.ndarray
    group_coordinate_sum: np.ndarray
    group_energy: np.ndarray
    group_heat_current: np.ndarray | None
    group_block: np.ndarray
    group_role: np.ndarray
    group_atoms: np.ndarray
    group_composition: tuple[str, ...]
    bin_edges: np.ndarray | None = None
    bin_kinetic_energy: np.ndarray | None = None
    bin_atoms: np.ndarray | None = None


def record_quantities(record: NemdRecord) -> dict[str, Quantity]:
    """Path in results.h5 -> quantity."""
    quantities = {}
    for item in fields(record):
        value: Any = getattr(record, item.name)
        if item.name == "interface":
            value = np.array(value if value is not None else (), dtype=np.int64)
        elif item.name == "group_composition":
            value = np.array([name.encode() for name in value], dtype=np.bytes_)
        elif value is None:
            continue
        quantities[f"{GROUP}/{item.name}"] = Quantity(np.asarray(value), *FIELDS[item.name])
    return quantities


def records_of(results: Results) -> list[NemdRecord]:
    """The records in a results file: one, or one per replica.

    Raises
    ------
    InputError
        If they are not there or not complete.
    """
    replicas = sorted({path.split("/")[0] for path in results.quantities if path.startswith(REPLICA)})
    return [record_of(results, f"{name}/{GROUP}") for name in replicas] or [record_of(results)]


def record_of(results: Results, group: str = GROUP) -> NemdRecord:
    """The record under a group of a results file.

    Raises
    ------
    InputError
        If it is not there or not complete.
    """
    stored = {name: quantity.values for name, quantity in results.group(group).items()}
    missing = [name for name in FIELDS if name not in stored and name not in _OPTIONAL]
    if missing:
        raise InputError(f"results file: no NEMD data ({GROUP}/{missing[0]} is missing); run the NEMD job to its end")
    bins = len(np.atleast_1d(stored["bin_edges"])) - 1 if "bin_edges" in stored else 0
    rows, groups = len(np.atleast_1d(stored["time"])), len(np.atleast_1d(stored["group_block"]))
    for name, (_, description) in FIELDS.items():
        shape = {"(r)": (rows,), "(r,": (rows, groups), "(g)": (groups,), "(ro": (rows, bins)}.get(description[:3])
        if name in stored and shape is not None and np.shape(stored[name]) != shape:
            raise InputError(f"results file: {GROUP}/{name} has shape {np.shape(stored[name])}, expected {shape}; "
                             "the file is damaged, run the job again")
    interface = [int(block) for block in np.atleast_1d(stored["interface"])]
    values: dict[str, Any] = {name: stored.get(name) for name in FIELDS}
    for name in ("warmup", "area", "source_temperature", "sink_temperature"):
        values[name] = float(values[name])
    values["interface"] = (interface[0], interface[1]) if len(interface) == 2 else None
    values["group_composition"] = tuple(bytes(name).decode() for name in values["group_composition"])
    return NemdRecord(**values)
