"""The kill benchmark, with a few kills: scheduler, workers and campaign on one machine over TLS."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.xdist_group("dask")
def test_a_campaign_survives_kills():
    done = subprocess.run([sys.executable, str(BENCHMARKS / "campaign_kills.py"), "--kills", "4", "--tasks", "120"],
                          capture_output=True, text=True, timeout=300, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    facts = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line[:1].islower())
    assert facts["bitwise_the_same"] == "True"
    assert facts["finished_tasks_computed_again_after_a_start"] == "0"
    assert facts["tasks_missing_at_the_end"] == "0"
