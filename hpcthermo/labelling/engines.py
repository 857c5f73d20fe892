"""The engines that job files can name: one row each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from hpcthermo.labelling.labels import LabellingEngine

#: name in the job file -> module and class, made of the table [engine]
ENGINES: dict[str, tuple[str, str]] = {
    "espresso": ("espresso", "Espresso"),
    "vasp": ("vasp", "Vasp"),
    "gpaw": ("calculators", "Gpaw"),
    "cp2k": ("calculators", "Cp2k"),
    "tblite": ("calculators", "Tblite"),
    "ase": ("calculators", "AnyCalculator"),
}


def make_engine(table: Any) -> LabellingEngine:
    """The engine of a table [engine], with absolute paths."""
    module, name = ENGINES[table.name]
    factory: Callable[[Any], LabellingEngine] = getattr(import_module(f"hpcthermo.labelling.{module}"), name)
    return factory(table)
