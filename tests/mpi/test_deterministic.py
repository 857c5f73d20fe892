"""Separate runs of a job on two ranks end in the same bits, if nothing in it is chosen by timing."""

import json

import numpy as np
import pytest

from hpcthermo.results import read_results
from hpcthermo.skin import DEFAULT_SKIN

JOB = """
kind = "md"
seed = 3
structure.builder = "layered_stack"
structure.spacing_A = 3.4
potential = ["tersoff_graphene", "lj_gr_hbn"]
execution.{execution}
output.series_interval_steps = 10
output.figures = false
output.checkpoint_interval_steps = 30
[[structure.layers]]
material = "graphene"
count = 2
repeat = [4, 2]
[[stage]]
ensemble = "langevin"
temperature_K = [300, 900]
timestep_fs = 1.0
steps = {steps}
"""


@pytest.mark.parametrize(("execution", "skin", "steps"), [
    ("deterministic = true", DEFAULT_SKIN, 60), pytest.param("skin_A = 0.3", 0.3, 120, marks=pytest.mark.slow)])
def test_two_runs_on_two_ranks_end_in_the_same_bits(execution, skin, steps, ranks_runner, tmp_path):
    job, finals = tmp_path / "job.toml", []
    job.write_text(JOB.format(execution=execution, steps=steps))
    for turn in ("first", "second"):
        folder = tmp_path / turn
        ended = ranks_runner(2, ["-m", "mpi4py", "-m", "hpcthermo", "run", str(job), "--out", str(folder)], 120.0)
        assert ended.returncode == 0, ended.stdout
        facts = json.loads((folder / "summary.json").read_text())["run"]
        assert facts["skin_A"] == skin
        assert facts["ranks"] == 2
        assert skin == DEFAULT_SKIN or facts["rebuilds"] > 1
        quantities = read_results(folder / "results.h5").quantities
        # names end in a token of the run
        shards = {(path.parent.name, path.name[:10]): path.read_bytes()
                  for path in folder.glob("checkpoints/step-*/rank-*.h5")}
        finals.append(({name: np.ascontiguousarray(q.values).tobytes() for name, q in quantities.items()}, shards))
    assert finals[0][0].keys() == finals[1][0].keys()
    assert [name for name in finals[0][0] if finals[0][0][name] != finals[1][0][name]] == []
    # whole states of both ranks at the last checkpoints
    assert len(finals[0][1]) >= 4
    assert finals[0][1] == finals[1][1]
