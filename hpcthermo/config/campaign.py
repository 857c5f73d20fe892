"""[campaign]: where the tasks of a campaign are computed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpcthermo.config.base import Boolean, Section, Text

_Count = Annotated[int, Field(ge=1, le=100_000, strict=True)]
_Hours = Annotated[float, Field(gt=0.0, le=10_000.0, strict=True)]
_Gibibytes = Annotated[float, Field(gt=0.0, le=1e6, strict=True)]
_Word = Annotated[str, Field(pattern=r"^[\w.@:+-]{1,128}$")]
#: keys that belong to some places only
_KEYS_OF = {
    "scheduler_address": ("scheduler",), "scheduler_file": ("scheduler",), "slurm": ("slurm",),
    "wait_s": ("scheduler", "slurm", "slurm_runner"),
}


class SlurmJobs(Section):
    """What one job of workers asks Slurm for (where = "slurm")."""

    jobs: _Count = 1
    """Jobs to submit."""
    processes: _Count = 1
    """Workers in each job."""
    cores: _Count = 1
    """Cores of each job."""
    memory_GiB: _Gibibytes = 4.0
    """Memory of each job."""
    walltime_h: _Hours = 1.0
    """Time limit of each job."""
    partition: _Word | None = None
    """Partition."""
    account: _Word | None = None
    """Account."""
    interface: _Word | None = None
    """Network interface that workers and this program share ("ib0")."""
    directives: Annotated[tuple[Annotated[str, Field(pattern=r"^--?[\w-]+([ =][\w.,:/@%+-]+)?$")], ...],
                          Field(max_length=50)] = ()
    """Further #SBATCH options, such as "--gpus-per-node=1"."""


class CampaignSection(Section):
    """Workers, their network, and how often a task is tried."""

    where: Literal["local", "processes", "threads", "local_cluster", "scheduler", "slurm", "slurm_runner"] = "local"
    """"local": threads or processes of this machine, as the tasks like it, without a network. "local_cluster": Dask
    workers of this machine. "scheduler": a Dask scheduler that runs already. "slurm": jobs of Dask workers that are
    submitted. "slurm_runner": scheduler and workers are the other Slurm tasks of this job."""
    workers: Literal["auto"] | _Count = "auto"
    """Workers on this machine; "auto" is one per core that this process may use."""
    scheduler_address: Text | None = None
    """"tls://host:8786"."""
    scheduler_file: Text | None = None
    """The file that the scheduler wrote."""
    tls: Boolean = True
    """Encrypt and authenticate; without it a scheduler runs code of everybody who reaches it."""
    tls_folder: Text | None = None
    """Folder with ca.pem, certificate.pem and key.pem, for schedulers that run already (docs/campaigns.md)."""
    attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 3
    """How often a task may take its worker with it before it counts as failed."""
    retry_failed: Boolean = False
    """Try tasks again that failed in an earlier run."""
    wait_s: Annotated[float, Field(gt=0.0, le=1e6, strict=True)] = 600.0
    """How long to wait for the first worker."""
    slurm: SlurmJobs | None = None
    """What one job of workers asks for."""

    @model_validator(mode="before")
    @classmethod
    def _keys_fit(cls, data: Any) -> Any:
        where = data.get("where", "local") if isinstance(data, dict) else None
        for key, places in _KEYS_OF.items():
            if isinstance(data, dict) and data.get(key) is not None and where not in places:
                raise ValueError(f"{key}: belongs to where = {' or '.join(places)}, got {where!r}; leave it out")
        return data

    @model_validator(mode="after")
    def _complete(self) -> CampaignSection:
        if self.where == "scheduler":
            if (self.scheduler_address is None) == (self.scheduler_file is None):
                raise ValueError('expected scheduler_address or scheduler_file with where = "scheduler"')
            if self.tls and self.tls_folder is None:
                raise ValueError("tls_folder: needed for a scheduler that runs already; make one with `python -m "
                                 "hpcthermo.campaign.certificates FOLDER`, or say tls = false on a network that nobody "
                                 "else reaches")
            plain = (self.scheduler_address or "").startswith("tcp://")
            if self.tls and plain:
                raise ValueError("scheduler_address: expected tls://..., got tcp://; say tls = false on a network that "
                                 "nobody else reaches")
        return self
