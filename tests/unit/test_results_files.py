"""results.h5, summary.json, status.json and the log: written as a whole, read back as written."""

import importlib.metadata
import json
import logging
import os

import h5py
import numpy as np
import pytest

from hpcthermo.errors import InputError, ResourceError
from hpcthermo.log import close_logging, set_up_logging
from hpcthermo.progress import Progress, duration_text
from hpcthermo.results import (
    Quantity,
    Results,
    read_results,
    read_summary,
    replaced_file,
    value_text,
    versions,
    write_results,
    write_summary,
)
from hpcthermo.status import status_text


@pytest.fixture
def results() -> Results:
    job = {"kind": "md", "title": "T" * 100_000}  # longer than an HDF5 attribute may be
    quantities = {"series/time": Quantity(np.linspace(0, 1, 50_000), "ps", "end of each row"),
                  "profiles/labels": Quantity(np.array([b"C", b"BN"]), "1")}
    return Results("md", job, {"atoms": 8, "versions": {"numpy": "2"}, "skin_A": 1.0}, quantities,
                   {"profiles": {"area_A2": 12.5}})


def test_versions_of_a_copy_that_is_not_installed(monkeypatch):
    """As where its folder is on the path only; reports ask for this name."""
    installed = importlib.metadata.version

    def version(name):
        if name == "hpcthermo":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions()["hpcthermo"] == "not installed"
    assert versions()["numpy"] == np.__version__


def test_results_come_back_as_written(results, tmp_path):
    write_results(tmp_path / "results.h5", results)
    found = read_results(tmp_path / "results.h5")
    assert (found.kind, found.job, found.run) == (results.kind, results.job, results.run)
    assert found.attributes["profiles"]["area_A2"] == 12.5
    for path, quantity in results.quantities.items():
        assert np.array_equal(found.quantities[path].values, quantity.values)
        assert found.quantities[path].unit == quantity.unit
    assert list(found.group("series")) == ["time"]


def test_every_dataset_has_a_unit(results, tmp_path):
    write_results(tmp_path / "results.h5", results)
    units = []
    with h5py.File(tmp_path / "results.h5") as store:
        store.visititems(lambda _, item: units.append(item.attrs["unit"]) if isinstance(item, h5py.Dataset) else None)
    assert len(units) == 3


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_that_cannot_be_written_is_one_line(results, tmp_path):
    with pytest.raises(ResourceError, match="cannot be written"):
        write_summary(tmp_path / "absent", {}, {}, {})


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
def test_a_damaged_results_file_is_one_line(content, tmp_path):
    path = tmp_path / "results.h5"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_results(path)
    assert "\n" not in str(error.value)


def test_a_truncated_results_file_is_one_line(results, tmp_path):
    path = tmp_path / "results.h5"
    write_results(path, results)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError):
        read_results(path)


def test_summary_has_no_nan(tmp_path):
    write_summary(tmp_path, {"G": {"value": np.float64(60.0), "error": float("nan"), "unit": "MW"}}, {}, {"atoms": 8})
    text = (tmp_path / "summary.json").read_text()
    assert "NaN" not in text
    assert read_summary(tmp_path)["results"]["G"]["error"] is None


@pytest.mark.parametrize(
    ("value", "error", "unit", "text"),
    [(62.512, 10.83, "MW", "63 ± 11 MW"), (0.123456, 0.00123, "K", "0.1235 ± 0.0012 K"), (5.0, None, "1", "5"),
     (None, None, "K", "not determined"), (-1.5e-7, 2e-8, "eV", "(-1.500e-07 ± 2.0e-08) eV"),
     (-37.431479210649, 9e-12, "meV", "-37.431479 ± 9.0e-12 meV")],
)
def test_values_are_shown_to_two_digits_of_their_error(value, error, unit, text):
    assert value_text({"value": value, "error": error, "unit": unit}) == text


def test_progress_writes_a_status_that_status_reads(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("hpcthermo.progress.time.monotonic", lambda: clock[0])
    progress = Progress(0, tmp_path, n_atoms=1000, total_steps=1000)
    progress.begin_stage("heat up", 0, 0.5)
    for step in range(1, 501):
        clock[0] += 0.01
        progress.update(step)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == "running"
    speed = progress.speed()
    assert speed["steps_per_second"] == pytest.approx(100.0)
    assert speed["atom_steps_per_second"] == pytest.approx(1e5)
    assert speed["ns_per_day"] == pytest.approx(100 * 0.5e-6 * 86400)
    assert speed["eta_seconds"] == pytest.approx(5.0, abs=0.6)
    progress.finish("finished")
    assert "finished" in status_text(tmp_path)


def test_a_status_that_has_gone_silent_is_told(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps(
        {"state": "running", "stage": "nemd", "step": 5, "total_steps": 10, "updated": 0.0}))
    assert "probably died" in status_text(tmp_path)


def test_other_ranks_write_nothing(tmp_path, capsys):
    logger = set_up_logging(1, tmp_path)
    logger.info("hidden")
    Progress(1, tmp_path, 1, 1).begin_stage("a", 0, 1.0)
    close_logging()
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_the_log_is_json_lines(tmp_path, capsys):
    set_up_logging(0, tmp_path).info("step %d", 3, extra={"step": 3})
    close_logging()
    entry = json.loads((tmp_path / "log.jsonl").read_text())
    assert (entry["message"], entry["step"], entry["level"]) == ("step 3", 3, "info")
    assert capsys.readouterr().err == "step 3\n"
    assert logging.getLogger("hpcthermo").handlers == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (190, "3 min 10 s"), (18720, "5 h 12 min"), (2e5, "2 d 7 h")])
def test_durations(seconds, text):
    assert duration_text(seconds) == text


def test_the_status_of_a_replicated_run_lists_its_replicas(tmp_path):
    for k, state in enumerate(("finished", "checkpointed")):
        (tmp_path / f"replica_{k:03d}").mkdir()
        (tmp_path / f"replica_{k:03d}" / "status.json").write_text(json.dumps(
            {"state": state, "stage": "nemd", "step": 5, "total_steps": 10, "updated": 0.0}))
    first, second = status_text(tmp_path).split("\n\n")
    assert first.startswith("replica_000\nstate     finished")
    assert second.startswith("replica_001\nstate     checkpointed")
