"""A whole job about lattice vibrations on the tasks of one Slurm job: scheduler, the job itself, two workers."""

import os
import subprocess
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
from lattice_job_cases import SILICON

pytestmark = pytest.mark.xdist_group("lattice_jobs")

TASKS = 4
RUNNER = '[campaign]\nwhere = "slurm_runner"\nwait_s = 60.0\n'


@pytest.mark.slow
@pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="dask-jobqueue (hpcthermo[jobqueue]) is not installed")
def test_a_bte_job_shares_the_tasks_of_a_slurm_job(silicon_run, tmp_path):
    """As srun starts them: each task has its number, and the same command."""
    job = tmp_path / "job.toml"
    job.write_text(SILICON.replace("[phonon]", f"{RUNNER}[phonon]"))
    command = [sys.executable, "-m", "hpcthermo", "bte", str(job), "--out", str(tmp_path / "out")]
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": str(TASKS), "SLURM_STEP_NUM_TASKS": str(TASKS)}
    logs = [tmp_path / f"task{task}.log" for task in range(TASKS)]
    started = []
    try:
        for task, log in enumerate(logs):
            with log.open("w") as stream:
                started.append(subprocess.Popen(command, stdout=stream, stderr=stream,
                                                env={**os.environ, **step, "SLURM_PROCID": str(task)}))
        codes = [process.wait(180) for process in started]
    finally:
        for process in started:
            process.kill()
    assert codes == [0] * TASKS, [log.read_text()[-1000:] for log in logs]
    # one of the tasks ran the job
    assert ["report: " in log.read_text() for log in logs] == [False, True, False, False]
    # others may read the results as those of any job, but not the file of the scheduler
    assert (tmp_path / "out" / "results.h5").stat().st_mode == (silicon_run / "out" / "results.h5").stat().st_mode
    found = []
    for folder in (tmp_path / "out", silicon_run / "out"):
        with h5py.File(folder / "results.h5") as store:
            found.append({name: store[name][()] for name in ("modes/linewidth", "kappa/rta", "kappa/lbte")})
    for name, values in found[0].items():
        np.testing.assert_allclose(values, found[1][name], rtol=1e-9, atol=1e-15, err_msg=name)
