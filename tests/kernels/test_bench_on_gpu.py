"""`hpcthermo bench` on the emulated GPU: launches are timed in a second stretch of steps, stages come from cycles."""

import ase.build
import ase.io
import nep_reference
import pytest
from emulated_gpu import EmulatedGpuBackend

from hpcthermo import preparation, roofline
from hpcthermo.bench import report as bench_report
from hpcthermo.bench.case import make_case
from hpcthermo.bench.stages import descriptor_share
from hpcthermo.domain.comm import SingleProcess
from hpcthermo.engine import make_engine
from hpcthermo.performance_model import Network
from hpcthermo.potentials.load import load_potential
from hpcthermo.structure.build import make_snapshot


@pytest.fixture
def emulated(monkeypatch):
    monkeypatch.setattr(preparation, "make_backend", lambda _device, precision, *_: EmulatedGpuBackend(precision))
    monkeypatch.setattr(bench_report, "machine_name", lambda _backend: "emulated")
    for sizes in (roofline._ROUNDS, roofline._TRIAD_LENGTH):
        monkeypatch.setitem(sizes, "cuda", 100)
    monkeypatch.setattr(roofline, "_SHORTEST_TRIAD", 100)
    monkeypatch.setattr(roofline, "_REPEATS", {"multiply_add": 1, "triad": 1})


class RecordingBackend(EmulatedGpuBackend):
    """Plays recorded launches back as a GPU does: with the memory that they had when they were recorded."""

    def __init__(self, precision):
        super().__init__(precision)
        self.recordings = {}

    def repeat(self, key, work):
        if self.clock is not None:
            work()
            return
        if key not in self.recordings:
            self.recordings[key], launch = [], self._launch
            self._launch = lambda *launched: (self.recordings[key].append(launched), launch(*launched))
            work()
            del self._launch
            return
        for launched in self.recordings[key]:
            self._launch(*launched)

    def forget(self):
        self.recordings.clear()


def test_no_recording_outlives_the_memory_that_counts_cycles(tmp_path):
    potential = load_potential(str(nep_reference.write_model(tmp_path / "nep.txt", elements=("C",))))
    atoms = ase.build.bulk("C", cubic=True)
    snapshot = make_snapshot(atoms.cell.array, atoms.pbc, atoms.get_chemical_symbols(), atoms.positions)
    backend = RecordingBackend("double")
    engine = make_engine(snapshot, potential, SingleProcess(), backend, 0.5)
    for _ in range(3):
        engine.compute()
    assert backend.recordings
    assert 0.0 < descriptor_share(engine) < 1.0
    assert not backend.recordings


def test_report(emulated, tmp_path):
    potential = nep_reference.write_model(tmp_path / "nep.txt", elements=("C",))
    atoms = ase.build.bulk("C", cubic=True) * (2, 2, 2)
    ase.io.write(tmp_path / "diamond.xyz", atoms, format="extxyz")
    case = make_case(None, str(potential), str(tmp_path / "diamond.xyz"), "cuda", "double", "0.5", steps=2,
                           warm_up=1, virials_every=2)
    report = bench_report.measure(case, SingleProcess(), Network())
    assert (report["device"], report["instruction_set"]) == ("cuda", "emulated")
    stages = report["stages"]
    assert sum(stages.values()) == pytest.approx(report["seconds_per_step"])
    for stage in ("descriptor", "forces", "halo", "integrate", "observers"):
        assert stages[stage] > 0.0, stage
    assert stages["host"] >= 0.0
    assert 0.0 < report["stages_scale"] <= 1.0
    assert "wall time of the first stretch" in report["stages_from"]
    assert report["model"]["strong"][0]["efficiency"] == pytest.approx(1.0)
