"""The job file: one TOML, pydantic models, all errors at once."""

from __future__ import annotations

from hpcthermo.config.job import (
    ActiveLearningJob,
    ElasticJob,
    Job,
    LabelJob,
    LatticeDynamicsJob,
    LatticeJob,
    MdJob,
    MinimizeJob,
    ModelChecksJob,
    NemdJob,
    StaticJob,
    TaskJob,
    TrainJob,
)
from hpcthermo.config.load import JobFileError, load_job, parse_job

__all__ = [
    "ActiveLearningJob", "ElasticJob", "Job", "JobFileError", "LabelJob", "LatticeDynamicsJob", "LatticeJob", "MdJob",
    "MinimizeJob", "ModelChecksJob", "NemdJob", "StaticJob", "TaskJob", "TrainJob", "load_job", "parse_job",
]
