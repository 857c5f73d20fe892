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


@pytest.mark.slow
def test_rehearsal_on_the_emulated_gpu(benchmark, nep_model):
    from fake_cupy import installed_cupy

    from hpcthermo.gpu.backend import CudaBackend

    with installed_cupy():
        for case in (benchmark.CASES[2], benchmark.CASES[5]):
            lines = benchmark.measure(case, "mixed", CudaBackend("mixed"), nep_model, True)
            assert "64 atoms" in lines[0]
            # registers and occupancy as the fake driver tells them
            assert any(line.split()[-4:] == ["64", "0", "0", "6%"] for line in lines)


def test_cycles_are_counted_after_steps_were_recorded(benchmark, nep_model):
    from fake_cupy import installed_cupy

    from hpcthermo.gpu.backend import CudaBackend

    with installed_cupy() as cupy:
        engine = benchmark.engine_of(benchmark.CASES[0], benchmark.small_cell(64), CudaBackend("mixed"), nep_model)
        for _ in range(4):
            engine.compute()
        assert ("nep_sites", True) in [(name, inside) for name, *_, inside in cupy.launched]
        (line,) = benchmark.stages_of(engine)
        assert " 0.0 %" not in line
        recorded = len(cupy.launched)
        for _ in range(3):
            engine.compute()
        # launched once more and recorded once more, without the counter
        assert [inside for name, *_, inside in cupy.launched[recorded:] if name == "nep_sites"] == [False, True]


def test_predictions_are_found(benchmark, tmp_path, monkeypatch):
    record = tmp_path / "gpu_prediction.txt"
    record.write_text("# title\n\nforce call:\n  24,644 atoms  6.56e+07  1.03e+08\nfor 10 atoms 1e3 more\n")
    monkeypatch.setattr(benchmark, "PREDICTION", record)
    assert benchmark.predictions() == {24_644: [6.56e7, 1.03e8]}
    assert benchmark.against_prediction(benchmark.CASES[0], "mixed", 24_644, 1e-3) == [
        "  NEP kernels alone 2.464e+07 atom-step/s; predicted 6.56e+07, 1.03e+08"]
    assert benchmark.against_prediction(benchmark.CASES[3], "mixed", 100, 1e-3) == []
