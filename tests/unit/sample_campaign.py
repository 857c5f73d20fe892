"""Functions of small campaigns; in a module of their own, so that other processes can import them."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcthermo.campaign.task import Inputs
from hpcthermo.errors import InputError


@dataclass(frozen=True)
class Powers:
    """Powers of a number; some numbers end badly."""

    exponent: float = 0.5
    poison: float | None = None
    """Ends the process it is computed in."""
    pause_s: float = 0.0
    ledger: str = ""
    """A file that gets a line for each number that is computed."""
    thread_safe: bool = False
    refuse: bool = False
    ballast: bytes = b""
    """Makes it long to send."""

    name = "powers"
    version = 1
    units = {"powers": "1", "root": "A"}  # noqa: RUF012

    @property
    def shared(self):
        return Inputs(parameters={"exponent": self.exponent})

    def prepare(self):
        if self.refuse:
            raise InputError("powers: refused")
        return os.getpid()

    def evaluate(self, state, tasks):
        records = []
        for task in tasks:
            number = float(task.arrays["number"])
            if number == self.poison:
                os.kill(os.getpid(), signal.SIGKILL)
            if number < 0:
                raise ValueError(f"no root of\n{number}")
            time.sleep(self.pause_s)
            if self.ledger:
                with Path(self.ledger).open("a") as stream:
                    stream.write(f"{number}\n")
            records.append({"powers": number ** (self.exponent * np.arange(3)), "root": np.array(number**0.5)})
        return records


def numbers(*values):
    return [Inputs({"number": np.array(float(value))}) for value in values]
