"""Job files that tests start from."""

import copy
from typing import Any

NEMD_JOB = """
kind = "nemd"
title = "Small stack"
seed = 7

[structure]
builder = "layered_stack"
spacing_A = 3.35
vacuum_A = 30.0

[[structure.layers]]
material = "graphene"
count = 4
repeat = [4, 3]

[[structure.layers]]
material = "h-BN"
count = 4
repeat = [4, 3]
stacking = "AA'"

[[potential]]
name = "tersoff_bnc"
[[potential]]
name = "lj_gr_hbn"
cutoff_A = 8.0
between_layers_only = true

[execution]
device = "cpu"
precision = "mixed"
skin_A = 1.0
decomposition = "auto"
replicas = 1

[[stage]]
name = "heat up"
ensemble = "langevin"
temperature_K = [10, 300]
coupling_fs = 100
timestep_fs = 0.5
duration_ps = 1

[nemd]
axis = "z"
fixed_layers = [0, -1]
source_layers = [1]
sink_layers = [-2]
temperature_K = 300
temperature_difference_K = 60
timestep_fs = 0.5
warmup_ps = 1
duration_ps = 10

[output]
checkpoint_interval_steps = 1000
trajectory = { format = "extxyz", interval_ps = 1.0 }
"""


def changed(data: dict, path: str, value: Any) -> dict:
    """A copy of a job with the value at a dotted path replaced or added."""
    result = copy.deepcopy(data)
    place: Any = result
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = value
    return result
