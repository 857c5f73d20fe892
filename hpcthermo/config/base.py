"""What all tables of a job file share: frozen, unknown keys refused, numbers finite and bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

#: no run of this program lasts longer; keeps products of durations and rates inside float64 integers
MAXIMUM_STEPS = 10**12

#: strict: text and booleans are not taken for numbers
Number = Annotated[float, Strict()]
Integer = Annotated[int, Strict()]
Boolean = Annotated[bool, Strict()]
Text = Annotated[str, Field(max_length=4096)]

Kelvin = Annotated[float, Strict(), Field(gt=0.0, le=1e5)]
Femtoseconds = Annotated[float, Strict(), Field(gt=0.0, le=1e9)]
Timestep = Annotated[float, Strict(), Field(gt=0.0, le=20.0)]
Picoseconds = Annotated[float, Strict(), Field(gt=0.0, le=1e9)]
Angstrom = Annotated[float, Strict(), Field(gt=0.0, le=1e5)]
Gigapascal = Annotated[float, Strict(), Field(ge=-1e3, le=1e4)]
Steps = Annotated[int, Strict(), Field(ge=1, le=MAXIMUM_STEPS)]
LayerIndex = Annotated[int, Strict(), Field(ge=-100_000, le=100_000)]
Element = Annotated[str, Field(pattern=r"^[A-Z][a-z]?$")]
Component = Literal["xx", "yy", "zz", "yz", "xz", "xy"]


class Section(BaseModel):
    """A table of the job file."""

    # validators are built when first used: every start of the program would wait for those of all kinds of job
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True,
                              defer_build=True)


def count_steps(duration_ps: float, timestep_fs: float) -> int:
    """Steps that cover a duration, at least one."""
    return max(1, round(1000.0 * duration_ps / timestep_fs))
