"""Campaigns on a Dask cluster of this machine: results, worker loss, and who may talk to it."""

import os
import signal
import socket
import stat
import warnings

import numpy as np
import psutil
import pytest
import sample_points
from sample_campaign import Powers, numbers

from hpcthermo.campaign import cluster
from hpcthermo.campaign.certificates import write_certificates
from hpcthermo.campaign.run import run_campaign
from hpcthermo.campaign.workers import start_workers
from hpcthermo.config.campaign import CampaignSection
from hpcthermo.errors import InputError, ResourceError
from hpcthermo.transport.bte.tasks import linewidths_of

pytestmark = pytest.mark.xdist_group("dask")


def listeners():
    """Addresses at which this process and those it started listen."""
    own = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {c.laddr for p in own for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def others():
    """Who listened before: MPI, if an earlier test of this process started it."""
    return listeners()


@pytest.fixture(scope="module")
def workers(others, tmp_path_factory):
    section = CampaignSection(where="local_cluster", workers=2, attempts=2)
    cluster = start_workers(section, Powers(), tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def test_a_cluster_gives_the_bits_of_this_thread(workers, tmp_path):
    tasks = numbers(*np.linspace(0, 5, 200))
    here = run_campaign(Powers(), tasks).stack("powers")
    there = run_campaign(Powers(pause_s=1e-3), tasks, tmp_path, workers)
    assert there.computed == 200
    np.testing.assert_array_equal(there.stack("powers"), here)
    with pytest.raises(InputError, match="refused"):
        run_campaign(Powers(refuse=True), tasks, workers=workers)


def test_a_large_function_is_sent_in_pieces(workers):
    """Dask warns of tasks above 10 MB."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run_campaign(Powers(ballast=os.urandom(15_000_000)), numbers(*range(8)), workers=workers)
        np.testing.assert_array_equal(found.stack("root"), np.arange(8.0) ** 0.5)


def test_nothing_listens_beyond_this_machine_and_plain_text_is_refused(workers, others):
    listening = listeners() - others
    assert len(listening) >= 3  # the scheduler and two workers
    assert {address.ip for address in listening} == {"127.0.0.1"}
    from distributed import Client

    address = workers._client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    with pytest.raises((OSError, TimeoutError)):
        Client(address.replace("tls://", "tcp://"), timeout=1, set_as_default=False)
    for port in {a.port for a in listening}:  # whoever speaks plainly is cut off, or finds no page
        for page in ("/", "/health", "/info/main/workers.html", "/json/counts.json", "/metrics"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                plain.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
                try:
                    answer = plain.recv(4096)
                except ConnectionResetError:
                    answer = b""
            assert answer[:1] in (b"", b"\x15") or answer.startswith(b"HTTP/1.1 404"), answer  # 15: a TLS alert


@pytest.mark.slow  # processes (test_campaign.py) show the same of a task that kills
def test_a_worker_that_dies_is_replaced_and_a_task_that_kills_it_fails_alone(workers, tmp_path):
    killed = []

    def kill_once():
        if not killed:
            killed.append(int(next(iter(workers._client.run(os.getpid).values()))))
            os.kill(killed[0], signal.SIGKILL)
        return 0

    tasks = numbers(*range(60))
    records = run_campaign(Powers(pause_s=0.01), tasks, tmp_path / "a", workers, stop=kill_once)
    assert killed
    assert not records.failures
    np.testing.assert_array_equal(records.stack("root"), np.arange(60.0) ** 0.5)
    poisoned = run_campaign(Powers(poison=3.0, exponent=2.0), numbers(*range(6)), tmp_path / "b", workers, attempts=1)
    assert list(poisoned.failures) == [3]
    assert "died" in poisoned.failures[3]


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow), 1])
def test_linewidths_are_the_same_bits_on_any_number_of_dask_workers(workers, count, tmp_path):
    problem = sample_points.problem()
    cluster, client = workers._owned[0], workers._client
    cluster.scale(count)
    client.wait_for_workers(count, timeout=120)
    def campaign(function, tasks):
        return run_campaign(function, tasks, tmp_path, workers)

    there = linewidths_of(problem, campaign=campaign)
    np.testing.assert_array_equal(there, linewidths_of(problem))
    four = sample_points.four_phonons()
    there = sample_points.sampled(four, campaign=campaign)
    assert len(client.nthreads()) == count
    np.testing.assert_array_equal(there.gamma, sample_points.sampled(four).gamma)


def test_certificates_are_for_their_owner_only(tmp_path):
    folder = tmp_path / "tls"
    write_certificates(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    with pytest.raises(InputError, match="has certificates already"):
        write_certificates(folder)


class _ClientWithoutWorkers:
    """A client whose workers have died, and whose finished batch has to be computed again."""

    status = "running"

    def __init__(self):
        self.fetched = 0
        self.key = "batch"

    def wait_for_workers(self, count, timeout):
        return None

    def nthreads(self):
        return {}

    def submit(self, *_, **__):
        return self

    def add_done_callback(self, call):
        call(self)

    def result(self, timeout):
        self.fetched += 1
        if self.fetched == 1:
            raise TimeoutError
        return [], {}, 0.0

    def close(self):
        return None


def test_a_batch_that_was_lost_after_it_was_done_is_waited_for_and_a_cluster_without_workers_is_not():
    workers = cluster.DaskWorkers(_ClientWithoutWorkers(), wait_s=0.0)
    workers.begin(Powers())
    workers.submit(1, ["key"], numbers(1.0))
    assert workers.next(0.1) is None
    outcome = workers.next(0.1)
    assert (outcome.batch, outcome.lost) == (1, "")
    with pytest.raises(ResourceError, match="no worker is left, and none came within 0 s"):
        _ = workers.capacity
