"""`hpcthermo bench` on the emulated GPU: launches are timed in a second stretch of steps, stages come from cycles."""

import ase.build
import ase.io
import nep_reference
import pytest
from emulated_gpu import EmulatedGpuBackend

from hpcthermo import bench, preparation, roofline
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.performance_model import Network


@pytest.fixture
def emulated(monkeypatch):
    monkeypatch.setattr(preparation, "make_backend", lambda _device, precision, *_: EmulatedGpuBackend(precision))
    monkeypatch.setattr(bench, "machine", lambda _backend: "emulated")
    for sizes in (roofline._ROUNDS, roofline._TRIAD_LENGTH):
        monkeypatch.setitem(sizes, "cuda", 100)
    monkeypatch.setattr(roofline, "_SHORTEST_TRIAD", 100)
    monkeypatch.setattr(roofline, "_REPEATS", {"multiply_add": 1, "triad": 1})


def test_report(emulated, tmp_path):
    potential = nep_reference.write_model(tmp_path / "nep.txt", elements=("C",))
    atoms = ase.build.bulk("C", cubic=True) * (2, 2, 2)
    ase.io.write(tmp_path / "diamond.xyz", atoms, format="extxyz")
    case = bench.make_case(None, str(potential), str(tmp_path / "diamond.xyz"), "cuda", "double", "0.5", steps=2,
                           warm_up=1, virials_every=2)
    report = bench.measure(case, SingleProcess(), Network())
    assert (report["device"], report["instruction_set"]) == ("cuda", "emulated")
    stages = report["stages"]
    assert sum(stages.values()) == pytest.approx(report["seconds_per_step"])
    for stage in ("descriptor", "forces", "halo", "integrate", "observers", "host"):
        assert stages[stage] > 0.0, stage
    assert report["model"]["strong"][0]["efficiency"] == pytest.approx(1.0)
