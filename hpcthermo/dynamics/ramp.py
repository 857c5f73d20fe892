"""Targets that change linearly with the step."""

from __future__ import annotations

from dataclasses import dataclass

from hpcthermo.errors import InputError


@dataclass(frozen=True)
class Ramp:
    """A value that goes linearly from `start` (at `first_step`) to `end` (at `last_step`) and stays there.

    Attributes
    ----------
    start, end : float
        In the unit of the quantity.
    first_step, last_step : int
        Steps of the whole job, so that a resumed run continues on the same line.
    """

    start: float
    end: float
    first_step: int = 0
    last_step: int = 0

    @classmethod
    def of(cls, value: float | Ramp) -> Ramp:
        """A constant, or a ramp as it is."""
        return value if isinstance(value, Ramp) else cls(float(value), float(value))

    def at(self, step: int) -> float:
        """Value at a step."""
        if step >= self.last_step:
            return self.end
        if step <= self.first_step:
            return self.start
        fraction = (step - self.first_step) / (self.last_step - self.first_step)
        return self.start + fraction * (self.end - self.start)


def positive_temperature(value: float | Ramp, what: str) -> Ramp:
    """A ramp between temperatures above 0 K.

    Raises
    ------
    InputError
        If an end is not positive.
    """
    ramp = Ramp.of(value)
    if not (ramp.start > 0.0 and ramp.end > 0.0):
        raise InputError(f"{what}: expected temperatures above 0 K, got {ramp.start:g} to {ramp.end:g}; correct them")
    return ramp
