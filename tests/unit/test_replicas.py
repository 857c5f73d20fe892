"""Replicas: sharing of ranks, seeds, pooled tables."""

from __future__ import annotations

import numpy as np
import pytest

from hpcthermo.domain.comm import Communicator, SingleProcess
from hpcthermo.transport.replicas import pool_tables, replica_seed, share_out


class FakeRanks(Communicator):
    """One rank of many, as far as sharing out goes."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def split(self, color: int, key: int = 0) -> Communicator:
        self.color = color
        return SingleProcess()


@pytest.mark.parametrize(("ranks", "replicas"), [(1, 4), (2, 4), (3, 4), (4, 4), (8, 4), (12, 4)])
def test_each_replica_has_its_ranks(ranks: int, replicas: int) -> None:
    taken: dict[int, set[int]] = {}
    for rank in range(ranks):
        comm = FakeRanks(rank, ranks)
        for replica in share_out(comm, replicas)[1]:
            taken.setdefault(replica, set()).add(comm.color)
    assert sorted(taken) == list(range(replicas))
    assert all(len(colors) == 1 for colors in taken.values())


def test_seeds_differ_and_fit() -> None:
    seeds = [replica_seed(seed, k) for seed in (1, 2) for k in range(50)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert replica_seed(1, 3) == replica_seed(1, 3)


def table(value: float, error: float, passed: bool = True):
    entry = {"value": value, "error": error, "unit": "MW m^-2 K^-1"}
    return {"interfacial_thermal_conductance": entry}, {"steady_state": {"passed": passed, "detail": ""}}


def test_pooled_values_of_the_paper() -> None:
    """Twenty conductances that scatter by 10.8: standard error 10.8 / sqrt(20)."""
    values = 62.5 + 10.8 * np.sqrt(19.0 / 20.0) * np.tile([-1.0, 1.0], 10)
    results, checks = pool_tables([table(v, 10.0) for v in values])
    pooled = results["interfacial_thermal_conductance"]
    assert pooled["value"] == pytest.approx(62.5)
    assert pooled["error"] == pytest.approx(10.8 / np.sqrt(20.0))
    assert results["interfacial_thermal_conductance_standard_deviation"]["value"] == pytest.approx(10.8)
    assert checks["replica_scatter"]["passed"]


def test_too_small_errors_are_noticed() -> None:
    _, checks = pool_tables([table(v, 1.0) for v in (50.0, 60.0, 70.0, 55.0)])
    assert not checks["replica_scatter"]["passed"]


def test_failed_checks_count() -> None:
    _, checks = pool_tables([table(1.0, 1.0, passed) for passed in (True, False)])
    assert not checks["steady_state"]["passed"]
    _, checks = pool_tables([table(1.0, 1.0, k > 0) for k in range(20)])
    assert checks["steady_state"]["passed"]
