"""Owned atoms as records that travel between ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.domain.grid import RankGrid
from hpcthermo.gpu.backend import Backend
from hpcthermo.system import ATOM_FIELDS, System

#: per-atom arrays of owned atoms by name, on the host or on the device
Fields = dict[str, Any]

#: numbers of 8 bytes in a record
RECORD_WIDTH = sum(components for _, components in ATOM_FIELDS.values())


def owned_fields(system: System, backend: Backend) -> Fields:
    """Host arrays of the owned atoms by field (views on a CPU)."""
    n = system.n_owned
    return {name: backend.to_host(getattr(system, name)[:n]) for name in ATOM_FIELDS}


def pack_records(fields: Fields) -> np.ndarray:
    """Records (n, RECORD_WIDTH) of all fields; integers travel as int64 bit patterns."""
    n = len(fields["positions"])
    records = np.empty((n, RECORD_WIDTH), dtype=np.float64)
    integers = records.view(np.int64)
    column = 0
    for name, (dtype, components) in ATOM_FIELDS.items():
        target = records if dtype is np.float64 else integers
        target[:, column:column + components] = fields[name].reshape(n, components)
        column += components
    return records


def unpack_records(records: np.ndarray) -> Fields:
    """Inverse of `pack_records`."""
    integers = records.view(np.int64)
    fields: Fields = {}
    column = 0
    for name, (dtype, components) in ATOM_FIELDS.items():
        source = records if dtype is np.float64 else integers
        block: np.ndarray = source[:, column:column + components].astype(dtype)
        fields[name] = block[:, 0].copy() if components == 1 else block
        column += components
    return fields


def send_to_owners(fields: Fields, owners: np.ndarray, comm: Communicator) -> Fields:
    """Give every atom to the rank in `owners` (n,); return the atoms of this rank.

    Atoms that stay keep their order and come first; the others follow by sending rank.
    """
    leaving = np.flatnonzero(owners != comm.rank)
    leaving = leaving[np.argsort(owners[leaving], kind="stable")]
    counts = np.bincount(owners[leaving], minlength=comm.size).astype(np.int64)
    records, _ = comm.alltoallv(pack_records({name: value[leaving] for name, value in fields.items()}), counts)
    arrived = unpack_records(records)
    staying = owners == comm.rank
    return {name: np.concatenate([value[staying], arrived[name]]) for name, value in fields.items()}


def migrate(fields: Fields, fractional: Any, grid: RankGrid, comm: Communicator, backend: Backend) -> Fields:
    """Give the atoms that have left this rank's brick to their owners; only these go through the host (collective).

    Parameters
    ----------
    fields : dict of device arrays
        Of the owned atoms.
    fractional : (3, n) float64
        Their wrapped coordinates by axis.

    Returns
    -------
    dict of device arrays
        First the atoms that stay, in their order, then those that arrive, by sending rank.
    """
    xp = backend.xp
    lower, upper = (xp.asarray(np.ascontiguousarray(bound[comm.rank][:, None])) for bound in grid.bounds())
    outside = ((fractional < lower) | (fractional >= upper)).any(axis=0)
    leaving, staying = xp.flatnonzero(outside), xp.flatnonzero(~outside)
    owners = grid.owners(backend.to_host(fractional[:, leaving]).T)
    arrived = send_to_owners({name: backend.to_host(value[leaving]) for name, value in fields.items()}, owners, comm)
    return {name: xp.concatenate([value[staying], backend.from_host(arrived[name])]) for name, value in fields.items()}
