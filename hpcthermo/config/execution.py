"""[execution] and [output]: where a job computes and what it leaves behind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from hpcthermo.config.base import Boolean, Picoseconds, Section, Steps

RankCount = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Execution(Section):
    """Device, precision and decomposition."""

    device: Literal["cpu", "cuda"] = "cpu"
    """One rank computes on one core or one GPU."""
    precision: Literal["mixed", "double"] = "mixed"
    """Pair arithmetic in float32 ("mixed") or float64; state and sums are float64 always."""
    skin_A: Literal["auto"] | Annotated[float, Field(ge=0.0, le=20.0, strict=True)] = "auto"
    """Margin of the neighbour lists; "auto" tunes it before step 0 and stores it with the results."""
    deterministic: Boolean = False
    """Separate runs on as many ranks end in the same bits: a skin that is not given is 1 A, not tuned by timing. On a
    GPU for NEP only, whose forces are added in fixed point."""
    decomposition: Literal["auto", "slab"] | tuple[RankCount, RankCount, RankCount] = "auto"
    """Ranks along x, y, z; "auto" takes the least ghost surface."""
    replicas: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 1
    """Independent runs with different seeds; ranks are shared out among them."""

    @property
    def tunes_skin(self) -> bool:
        """Whether the skin is chosen by timing."""
        return self.skin_A == "auto" and not self.deterministic


class Trajectory(Section):
    """A trajectory file."""

    format: Literal["extxyz"] = "extxyz"
    """File format."""
    interval_ps: Picoseconds
    """Time between frames."""
    velocities: Boolean = False
    """Whether frames hold velocities."""


class Output(Section):
    """Checkpoints, series, trajectory and figures."""

    checkpoint_interval_steps: Steps = 100_000
    """Steps between checkpoints; one is also written on SIGTERM."""
    series_interval_steps: Steps = 100
    """Steps between samples of temperature, energies and pressure."""
    trajectory: Trajectory | None = None
    """Frames on request."""
    figures: Boolean = True
    """Whether the structure and the results are drawn; `hpcthermo plot FOLDER` draws results at any time."""

    @field_validator("trajectory")
    @classmethod
    def _reasonable_interval(cls, trajectory: Trajectory | None) -> Trajectory | None:
        if trajectory is not None and trajectory.interval_ps < 1e-3:
            raise ValueError("expected interval_ps of at least 0.001; write fewer frames")
        return trajectory
