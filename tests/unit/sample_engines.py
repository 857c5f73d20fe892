"""Engines whose programs are small scripts, and structures for them."""

import sys
from pathlib import Path

from ase import Atoms

from hpcthermo.campaign.run import run_campaign
from hpcthermo.config.labelling import EspressoEngine
from hpcthermo.labelling.task import LabelStructures

FAKE = f"{sys.executable} {Path(__file__).parent / 'fake_pw.py'}"


def espresso(folder: Path, kind: str = "sound", **keys) -> EspressoEngine:
    (folder / "C.UPF").write_text("pseudopotential of carbon")
    table = {"name": "espresso", "command": f"{FAKE} {kind}", "pseudopotential_folder": str(folder),
             "pseudopotentials": {"C": "C.UPF"}, "cutoff_Ry": 30.0, "density_cutoff_Ry": 240.0,
             "k_points": {"k_spacing_per_A": 0.5}, "smearing_width_eV": 0.2, "dispersion": "d3bj",
             "scratch_folder": str(folder)}
    return EspressoEngine(**{**table, **keys})


def carbon(n: int = 2) -> Atoms:
    return Atoms(f"C{n}", positions=[[0.0, 0.0, 1.3 * k] for k in range(n)], cell=[3.0, 3.0, 12.0], pbc=True)


def labels_of(engine, *structures):
    function = LabelStructures(engine)
    return run_campaign(function, [function.task(a, (2, 2, 1)) for a in structures])
