"""Runs tests marked ``parallel(ranks)`` under MPI from plain ``pytest``.

The first such test of a session starts one ``mpiexec -n ranks`` for all selected tests with the same
number of ranks; every rank runs them in order and reports to a file, and each test then takes its
outcome from there. A test whose outcome is missing (a rank died before it) runs again alone; a batch that
could not be collected fails all its tests. On a rank a failure ends all ranks, so the others do not wait for
ever; a hang ends with the time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
from rank_launcher import CHILD, TIME_LIMIT, run_ranks

#: plugins without use in ranks; hypothesis takes longer to import than all the rest
LEFT_OUT = [word for name in ("cacheprovider", "hypothesispytest", "xdist", "xdist.looponfail")
            for word in ("-p", f"no:{name}")]
#: exit codes of pytest for an error of collection or usage
NOT_COLLECTED = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)
#: groups of tests to start first, by processor time; `--no-loadscope-reorder` lets xdist keep this order
LONGEST = ("ranks", "lattice_jobs", "test_gpu_emulation", "test_run", "test_bench", "phonopy",
           "test_layers_at_rest", "test_nvrtc", "test_ensembles", "test_nemd", "test_report", "test_kills", "dask",
           "test_bridge", "test_cuda_host")
_batches: dict[int, dict[str, dict[str, str]]] = {}

# Ranks that wait for each other sleep: tests have more ranks than cores, and MPICH spins for whole time slices,
# 10 ms for a barrier of eight ranks on two cores instead of 1 ms.
os.environ.setdefault("MPIR_CVAR_ENABLE_HEAVY_YIELD", "1")
# The tests start some hundred processes: modules are compiled for the first of them, not for each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.fixture
def ranks_runner():
    """`run_ranks` for tests that start their own ranks."""
    return run_ranks


@pytest.fixture
def without_figures(monkeypatch):
    """Runs draw nothing: figures take longer than most of what is tested."""
    from hpcthermo import plots

    monkeypatch.setattr(plots, "draw_figures", lambda folder: [])
    monkeypatch.setattr(plots, "draw_structure", lambda snapshot, path: path)


@pytest.fixture(scope="session")
def figures_made_plain():
    """While it is entered figures have few dots, simple fonts and no layout, which takes half the time."""
    from hpcthermo import plots

    @contextlib.contextmanager
    def entered():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plots, "_DOTS_PER_INCH", 60)
            patch.setattr(plots, "STYLE", {**plots.STYLE, "pdf.fonttype": 3, "figure.constrained_layout.use": False})
            yield

    return entered


@pytest.fixture(scope="module")
def plain_figures(figures_made_plain):
    """The runs of a file draw plain figures; test_report.py has the real ones."""
    with figures_made_plain():
        yield


def _ranks(item: pytest.Item) -> int | None:
    marker = item.get_closest_marker("parallel")
    return None if marker is None else int(marker.args[0])


def _run_batch(ranks: int, node_ids: list[str]) -> tuple[dict[str, dict[str, str]], str]:
    with tempfile.TemporaryDirectory() as folder:
        result = run_ranks(ranks, ["-m", "mpi4py", "-m", "pytest", "-q", *LEFT_OUT, *node_ids],
                           TIME_LIMIT * (1.0 + len(node_ids) / 10.0), {CHILD: folder})
        outcomes: dict[str, dict[str, str]] = {}
        for rank in range(ranks):
            path = Path(folder) / f"rank{rank}.jsonl"
            for line in path.read_text().splitlines() if path.exists() else ():
                record = json.loads(line)
                known = outcomes.setdefault(record["test"], {**record, "ranks": 0})
                known["ranks"] += 1
                if record["outcome"] == "failed" != known["outcome"]:
                    known.update(outcome="failed", text=f"rank {rank}:\n{record['text']}")
    if result.returncode in NOT_COLLECTED:
        failed = {"outcome": "failed", "text": f"the batch could not be collected:\n{result.stdout}"}
        return dict.fromkeys(node_ids, failed), result.stdout
    # a test has passed when all ranks say so
    complete = {test: o for test, o in outcomes.items() if o["outcome"] == "failed" or o["ranks"] == ranks}
    reason = f"stopped after its time limit\n{result.stdout}" if result.returncode == 124 else result.stdout
    return complete, reason


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the suite, one takes all tests on ranks, and files stay whole, long ones first."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("ranks" if _ranks(item) else str(item.path.stem)))
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.get_closest_marker("xdist_group").args[0], len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids: list[str]) -> None:
    """Refuse to ignore groups: ranks and the fixtures of a file would start in every process."""
    if node.config.option.dist == "loadgroup" and not all("@" in node_id for node_id in ids):
        raise pytest.UsageError(f"pytest-xdist does not see the groups of tests with pytest {pytest.__version__}: "
                                "install the versions that pyproject.toml names")


def _node_id(item: pytest.Item) -> str:
    """Without the group that pytest-xdist appends."""
    group = item.get_closest_marker("xdist_group")
    return item.nodeid if group is None else item.nodeid.removesuffix(f"@{group.args[0]}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    ranks = _ranks(pyfuncitem)
    if ranks is None or CHILD in os.environ:
        return None
    if ranks not in _batches:
        selected = [_node_id(i) for i in pyfuncitem.session.items if _ranks(i) == ranks]
        _batches[ranks] = _run_batch(ranks, selected)[0]
    outcome = _batches[ranks].get(_node_id(pyfuncitem))
    reason = ""
    if outcome is None:
        alone, reason = _run_batch(ranks, [_node_id(pyfuncitem)])
        outcome = alone.get(_node_id(pyfuncitem))
    if outcome is None:
        pytest.fail(f"{ranks} ranks ended without an outcome:\n{reason[-4000:]}", pytrace=False)
    if outcome["outcome"] == "failed":
        pytest.fail(f"on {ranks} ranks, {outcome['text']}", pytrace=False)
    if outcome["outcome"] == "skipped":
        pytest.skip(outcome["text"])
    return True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    result = yield
    folder = os.environ.get(CHILD)
    report = result.get_result()
    if not folder or (report.when != "call" and report.outcome == "passed"):
        return
    from mpi4py import MPI

    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    with open(Path(folder) / f"rank{MPI.COMM_WORLD.rank}.jsonl", "a") as lines:
        lines.write(json.dumps({"test": _node_id(item), "outcome": report.outcome, "text": text}) + "\n")
    if report.outcome == "failed":
        MPI.COMM_WORLD.Abort(1)
