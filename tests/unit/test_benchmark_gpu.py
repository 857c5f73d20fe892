"""benchmarks/gpu.py, rehearsed on the CPU and on the emulated GPU."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    for folder in ("benchmarks", "tests/kernels"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    import gpu

    yield gpu
    # other tests may have modules of these names
    for name in ("gpu", "record", "systems"):
        sys.modules.pop(name, None)


@pytest.fixture
def nep_model(benchmark, tmp_path):
    from nep_reference import write_model

    return write_model(tmp_path / "nep.txt")


def test_rehearsal_on_the_cpu(benchmark, nep_model, capsys):
    benchmark.main(["--device", "cpu", "--tiny", "--potential", str(nep_model)])
    text = capsys.readouterr().out
    for line in ("gr_hbn_bilayer", "NEP, mixed", "NEP, double", "tersoff_bnc + lj_gr_hbn", "atom-step/s",
                 "per step: ", "cycles: ", "plain launches"):
        assert line in text
    assert "nan" not in text


def test_rehearsal_on_the_emulated_gpu(benchmark, nep_model):
    from fake_cupy import installed_cupy

    from hpcthermo.gpu.backend import CudaBackend

    with installed_cupy():
        for case in (benchmark.CASES[2], benchmark.CASES[5]):
            lines = benchmark.measure(case, "mixed", CudaBackend("mixed"), nep_model, True)
            assert "64 atoms" in lines[0]
            # registers and occupancy as the fake driver tells them
            assert any(line.split()[-4:] == ["64", "0", "0", "6%"] for line in lines)


def test_predictions_are_found(benchmark, tmp_path, monkeypatch):
    record = tmp_path / "gpu_prediction.txt"
    record.write_text("# title\n\ngr_hbn_stack 307,828 mixed  shared memory  6.1e7 atom-step/s\nother line\n")
    monkeypatch.setattr(benchmark, "PREDICTION", record)
    assert benchmark.predictions() == {("gr_hbn_stack", 307_828, "mixed"): 6.1e7}
