"""Campaigns without a network: keys, store, failures, workers that die."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from sample_campaign import Powers, numbers

from hpcthermo.campaign.block import blocks_of
from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.store import JOURNAL_FILE, Store
from hpcthermo.campaign.task import Inputs, pack, task_keys, unpack
from hpcthermo.campaign.workers import Outcome, Processes, ThisThread, Threads, start_workers
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.dynamics.stop import Requeue
from hpcthermo.errors import InputError, PhysicsError
from hpcthermo.status import status_text


def test_a_key_is_the_content_of_the_task():
    key = Inputs({"a": np.array([1.0, 0.0])}, {"x": 1, "y": [2]}, {"f": "00"}).digest()
    assert Inputs({"a": np.array([1.0, -0.0])[::1]}, {"y": [2], "x": 1}, {"f": "00"}).digest() == key
    others = [Inputs({"a": np.array([1.0, 1e-300])}, {"x": 1, "y": [2]}, {"f": "00"}),
              Inputs({"a": np.array([[1.0, 0.0]])}, {"x": 1, "y": [2]}, {"f": "00"}),
              Inputs({"a": np.array([1.0, 0.0], dtype="f4")}, {"x": 1, "y": [2]}, {"f": "00"}),
              Inputs({"b": np.array([1.0, 0.0])}, {"x": 1, "y": [2]}, {"f": "00"}),
              Inputs({"a": np.array([1.0, 0.0])}, {"x": 2, "y": [2]}, {"f": "00"}),
              Inputs({"a": np.array([1.0, 0.0])}, {"x": 1, "y": [2]}, {"f": "01"})]
    assert len({other.digest() for other in others} | {key}) == 1 + len(others)
    transposed = np.arange(6).reshape(2, 3).T
    assert Inputs({"a": transposed}).digest() == Inputs({"a": transposed.copy()}).digest()
    assert task_keys(Powers(0.5), numbers(2)) != task_keys(Powers(0.25), numbers(2))


def test_tasks_that_are_hashed_and_sent_at_once_are_the_tasks_one_by_one():
    generator = np.random.default_rng(2)
    pairs = [Inputs({"v": generator.normal(size=(2, 3)), "a": np.array([0, k]), "flag": np.array(k % 2 == 0),
                     "zero": np.array(-0.0), "none": np.empty((0, 3)), "big": np.array([k], dtype=">i4")})
             for k in range(5)]
    head = f"powers 1 {Powers().shared.digest()} "
    for tasks in (pairs, [*pairs, *numbers(1, 2)], [*pairs, Inputs(parameters={"x": 1})],
                  [Inputs({"a": np.array([1])}), Inputs({"a": np.array([1], dtype="f4")})]):
        assert task_keys(Powers(), tasks) == [sha256((head + task.digest()).encode()).hexdigest() for task in tasks]
        for task, sent in zip(tasks, unpack(pack(tasks)), strict=True):
            assert sent.digest() == task.digest()
            assert all(type(sent.arrays[name]) is np.ndarray and sent.arrays[name].dtype == array.dtype
                       for name, array in task.arrays.items())
    assert len(pack(pairs)["v"]) == 5
    with pytest.raises(InputError, match="NaN"):
        task_keys(Powers(), numbers(1, np.nan))


@pytest.mark.parametrize("inputs", [Inputs({"a": np.array([np.nan])}), Inputs({"a": np.array([None])}),
                                    Inputs(parameters={"x": float("inf")}), Inputs(parameters={"x": object()})])
def test_inputs_without_a_meaning_are_refused(inputs):
    with pytest.raises(InputError, match="campaign: "):
        inputs.digest()


def test_records_come_in_the_order_of_the_tasks_and_equal_tasks_are_one(tmp_path):
    records = run_campaign(Powers(), numbers(9, 4, 9, 1), tmp_path)
    assert records.computed == 3
    np.testing.assert_array_equal(records.stack("root"), [3, 2, 3, 1])
    np.testing.assert_array_equal(records[0].arrays["powers"], [1, 3, 9])
    again = run_campaign(Powers(), numbers(16, 9), tmp_path)
    assert again.computed == 1
    np.testing.assert_array_equal(again.stack("root"), [4, 3])
    with h5py.File(tmp_path / "shard_0000.h5") as shard:
        assert shard["records_0/arrays/root"].attrs["unit"] == "A"
        assert shard["records_0/keys"].shape == (4,)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
    assert "tasks     2 of 2" in status_text(tmp_path)


def test_a_task_that_fails_takes_no_other_with_it_and_is_retried_by_choice(tmp_path):
    ledger = tmp_path / "ledger"
    function = Powers(ledger=str(ledger))
    records = run_campaign(function, numbers(1, -2, 3), tmp_path / "c")
    assert records.failures == {1: "ValueError: no root of -2.0"}
    assert records[2].arrays["root"] == 3**0.5
    with pytest.raises(PhysicsError, match="1 of 3 tasks failed"):
        records.stack("root")
    assert run_campaign(function, numbers(1, -2, 3), tmp_path / "c").computed == 0
    assert run_campaign(function, numbers(1, -2, 3), tmp_path / "c", retry_failed=True).computed == 1
    # a batch of which one fails is evaluated again alone: no other work is repeated afterwards
    assert set(ledger.read_text().split()) == {"1.0", "3.0"}


def records_of(folder):
    store = Store(folder, {})
    found = {key: store.read(key) for key in list(store._places)}
    store.close()
    return found


def filled_journal(folder, count=5):
    """A store whose writer was killed: all in the journal; returns ends of its records."""
    store, ends = Store(folder, {}), []
    for k in range(count):
        store.add(*blocks_of([f"{k:064d}"], [{"x": np.arange(k + 1.0), "flag": np.array(k % 2 == 0)}]))
        ends.append((folder / JOURNAL_FILE).stat().st_size)
    return ends


@pytest.mark.parametrize("survive", [0, 1, 3, 5])
def test_a_kill_in_the_middle_of_a_write_loses_that_record_only(tmp_path, survive):
    ends = [0, *filled_journal(tmp_path)]
    begin, end = ends[survive], [*ends, ends[-1]][survive + 1]
    content = (tmp_path / JOURNAL_FILE).read_bytes()
    for cut in {begin, begin + 3, begin + 20, (begin + end) // 2, end - 1}:
        if begin <= cut < max(end, begin + 1):
            folder = tmp_path / f"cut{cut}"
            folder.mkdir()
            (folder / JOURNAL_FILE).write_bytes(content[:cut])
            assert sorted(int(key) for key in records_of(folder)) == list(range(survive))
            assert (folder / JOURNAL_FILE).stat().st_size == 0  # all in a shard now
            np.testing.assert_array_equal([len(r.arrays["x"]) for r in records_of(folder).values()],
                                          1 + np.arange(survive))


def test_a_damaged_entry_of_the_journal_is_reported(tmp_path, caplog):
    ends = filled_journal(tmp_path)
    content = bytearray((tmp_path / JOURNAL_FILE).read_bytes())
    content[ends[1] + 60] ^= 1
    (tmp_path / JOURNAL_FILE).write_bytes(bytes(content))
    with caplog.at_level("WARNING"):
        assert sorted(int(key) for key in records_of(tmp_path)) == [0, 1]
    assert f"damaged entry at byte {ends[1]}; it and what follows, {ends[-1] - ends[1]} bytes" in caplog.text


def test_a_journal_that_is_in_a_shard_already_changes_nothing(tmp_path):
    filled_journal(tmp_path)
    journal = (tmp_path / JOURNAL_FILE).read_bytes()
    before = records_of(tmp_path)
    (tmp_path / JOURNAL_FILE).write_bytes(journal)  # killed between the shard's rename and the cut of the journal
    (tmp_path / ".shard_0001.h5.77.tmp").write_bytes(b"half")
    after = records_of(tmp_path)
    assert sorted(after) == sorted(before)
    assert all((after[key].arrays["x"] == before[key].arrays["x"]).all() for key in before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [JOURNAL_FILE, "shard_0000.h5"]


def test_shards_are_few_and_damage_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("hpcthermo.campaign.store._SHARD_BYTES", 20_000)
    for start in range(0, 40, 5):
        run_campaign(Powers(), numbers(*range(start, start + 5)), tmp_path)
    assert len(list(tmp_path.glob("shard_*.h5"))) == 1
    with h5py.File(tmp_path / "shard_0000.h5", "r+") as shard:
        shard["records_0/arrays/root"][7] += 1.0
    with pytest.raises(InputError, match="damaged"):
        run_campaign(Powers(), numbers(*range(40)), tmp_path).stack("root")
    (tmp_path / "shard_0000.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="not a readable shard"):
        run_campaign(Powers(), numbers(1), tmp_path)


def test_a_stop_keeps_what_is_finished(tmp_path):
    asked = iter([0, 0, 1])
    with pytest.raises(Requeue, match="2 of 10 tasks"):
        run_campaign(Powers(pause_s=0.3), numbers(*range(10)), tmp_path, stop=lambda: next(asked))
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "checkpointed"
    assert run_campaign(Powers(), numbers(*range(10)), tmp_path).computed == 8


def test_threads_processes_and_this_thread_agree():
    tasks = numbers(*np.linspace(0, 5, 300))
    here = run_campaign(Powers(), tasks).stack("powers")
    for function, workers in ((Powers(), Threads(3)), (Powers(thread_safe=True), Threads(3)), (Powers(), Processes(2))):
        np.testing.assert_array_equal(run_campaign(function, tasks, workers=workers).stack("powers"), here)
        with pytest.raises(InputError, match="refused"):
            run_campaign(Powers(refuse=True), tasks, workers=workers)
        workers.close()


def test_a_task_that_kills_its_process_fails_alone(tmp_path):
    workers = Processes(2)
    records = run_campaign(Powers(poison=7.0), numbers(*range(30)), tmp_path, workers, attempts=2)
    workers.close()
    assert list(records.failures) == [7]
    assert "died 2 times" in records.failures[7]
    assert records[29].arrays["root"] == 29**0.5


class FullWorker(ThisThread):
    """Has several batches; number 3 kills it, three times in a row, and with it all that it has, as with Dask."""

    capacity = 4
    lost = ()

    def next(self, timeout_s):
        if any(task.arrays["number"] == 3.0 for _, _, tasks in self._waiting for task in tasks):
            self.lost = [batch for batch, _, _ in self._waiting]
            self._waiting.clear()
        if self.lost:
            return Outcome(self.lost.pop(0), lost="3 in a row", certain=False, deaths=3)
        return super().next(timeout_s)


@pytest.mark.parametrize(("attempts", "deaths"), [(1, 3), (4, 6)])
def test_a_task_that_waited_at_a_worker_that_died_is_not_blamed(attempts, deaths):
    records = run_campaign(Powers(), numbers(*range(30)), workers=FullWorker(), attempts=attempts)
    assert list(records.failures) == [3]
    assert f"died {deaths} times" in records.failures[3]
    assert records[4].arrays["root"] == 2.0


def test_processes_end_when_the_campaign_is_killed(tmp_path):
    """And what it had finished is not computed again."""
    code = ("import sys; from sample_campaign import *; from pathlib import Path\n"
            "from hpcthermo.campaign.run import run_campaign; from hpcthermo.campaign.workers import Processes\n"
            "if __name__ == '__main__':\n"
            "    run_campaign(Powers(pause_s=0.02, ledger=sys.argv[1]), numbers(*range(300)), Path(sys.argv[2]), "
            "Processes(2))\n")
    script, ledger, folder = tmp_path / "run.py", tmp_path / "ledger", tmp_path / "c"
    script.write_text(code)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen([sys.executable, str(script), str(ledger), str(folder)],
                             env={**os.environ, "PYTHONPATH": path}, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and len((ledger.read_text() if ledger.exists() else "").split()) < 40:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    while time.monotonic() < end and processes_of_group(child.pid):
        time.sleep(0.05)
    assert not processes_of_group(child.pid)
    kept = set(records_of(folder))
    assert kept
    ledger.unlink()
    records = run_campaign(Powers(ledger=str(ledger)), numbers(*range(300)), folder)
    assert records.computed == 300 - len(kept)
    assert len(ledger.read_text().split()) == records.computed
    np.testing.assert_array_equal(records.stack("root"), np.arange(300.0) ** 0.5)


def processes_of_group(group):
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (OSError, psutil.Error):
            continue
    return found


def test_the_job_file_chooses_the_workers(tmp_path):
    for table, kind in (({"workers": 1}, "ThisThread"), ({"workers": 2}, "Processes"),
                        ({"where": "threads", "workers": 2}, "Threads")):
        workers = start_workers(CampaignSection(**table), Powers(), tmp_path)
        assert type(workers).__name__ == kind
        workers.close()
    assert type(start_workers(CampaignSection(workers=2), Powers(thread_safe=True), tmp_path)).__name__ == "Threads"


@pytest.mark.parametrize(("table", "message"), [
    ({"where": "scheduler"}, "scheduler_address or scheduler_file"),
    ({"where": "scheduler", "scheduler_address": "tcp://h:1"}, "tls_folder"),
    ({"where": "scheduler", "scheduler_address": "tcp://h:1", "tls_folder": "x"}, "expected tls://"),
    ({"where": "local", "scheduler_address": "tls://h:1"}, "leave it out"),
    ({"where": "local_cluster", "slurm": {}}, "leave it out"),
    ({"where": "slurm_runner", "scheduler_file": "of_an_earlier_job.json"}, "leave it out"),
    ({"where": "slurm", "slurm": {"partition": "a; rm"}}, "partition"),
])
def test_places_that_make_no_sense_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        CampaignSection(**table)
