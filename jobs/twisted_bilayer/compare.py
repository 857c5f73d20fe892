"""AB against turned bilayers: conductivities, group velocities and scattering rates of the results beside this file.

`python compare.py` prints a table and draws velocities_and_rates.png.

symbol   is
kappa    W m^-1 K^-1 in the plane, mean of xx and yy
<speed>  mean of |v| over modes, each weighted by its heat capacity, km/s
<rate>   mean scattering rate of three phonons and isotopes with the same weights, 1/ps
"""

from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
#: systems, with the conductivities of the paper (AB, turned), W m^-1 K^-1
SYSTEMS = {"graphene": (1893.0, 1530.0), "hbn": (246.0, 123.0), "graphene_hbn": (None, 305.04)}
TEMPERATURE = 300.0


def modes(folder: Path) -> dict[str, np.ndarray]:
    """Frequencies (THz), speeds (km/s), rates (1/ps) and weights of all modes of a run, and conductivities."""
    with h5py.File(folder / "results.h5") as file:
        temperatures = file["kappa/temperature"][:]
        at = int(np.abs(temperatures - TEMPERATURE).argmin())
        gamma = file["modes/linewidth"][at]
        if "modes/isotope_linewidth" in file:
            gamma = gamma + file["modes/isotope_linewidth"][:]
        found = {
            "temperatures": temperatures, "divisions": file["mesh/divisions"][:],
            "frequency": file["modes/frequency"][:].ravel(), "rate": 4.0 * np.pi * gamma.ravel(),
            "speed": 0.1 * np.linalg.norm(file["modes/velocity"][:], axis=2).ravel(),
            "weight": (file["modes/heat_capacity"][at] * file["mesh/weight"][:][:, None]).ravel(),
        }
        for name in ("rta", "lbte", "coherence"):
            if f"kappa/{name}" in file:
                tensors = file[f"kappa/{name}"][:]
                found[name] = 0.5 * (tensors[:, 0, 0] + tensors[:, 1, 1])
    return found


def mean(found: dict[str, np.ndarray], name: str) -> float:
    """Over modes, by heat capacity."""
    taking = found["rate"] > 0.0
    return float(np.average(found[name][taking], weights=found["weight"][taking]))


def pairs(suffix: str) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """AB and turned runs of each system, where both are there."""
    found = {}
    for system in SYSTEMS:
        folders = [HERE / f"out_{system}_{kind}{suffix}" for kind in ("AB", "twisted")]
        if all((folder / "results.h5").exists() for folder in folders):
            found[system] = (modes(folders[0]), modes(folders[1]))
    return found


def print_table(found: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]) -> None:
    """Conductivities at all temperatures, then velocities and rates at 300 K."""
    for system, (plain, turned) in found.items():
        meshes = ["x".join(map(str, run["divisions"])) for run in (plain, turned)]
        print(f"{system}: AB {meshes[0]}, turned {meshes[1]}")
        for name in ("rta", "lbte", "coherence"):
            if name in plain and name in turned:
                for t, temperature in enumerate(plain["temperatures"]):
                    both = plain[name][t], turned[name][t]
                    print(f"  {name:<10}{temperature:6.0f} K  {both[0]:9.2f} {both[1]:9.2f}   {both[1] / both[0]:.3f}")
        for name, unit in (("speed", "km/s"), ("rate", "1/ps")):
            both = mean(plain, name), mean(turned, name)
            print(f"  <{name}>{'':<12}{both[0]:9.4f} {both[1]:9.4f} {unit} {both[1] / both[0]:.3f}")
        paper = SYSTEMS[system]
        if paper[0]:
            print(f"  paper             {paper[0]:9.2f} {paper[1]:9.2f}   {paper[1] / paper[0]:.3f}")


def draw(found: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]], path: Path) -> None:
    """Speeds above, rates below, AB and turned over each other."""
    figure, axes = plt.subplots(2, len(found), figsize=(4.0 * len(found), 6.5), sharex=True, squeeze=False)
    for column, (system, runs) in enumerate(found.items()):
        for run, label, colour in zip(runs, ("AB", "21.79°"), ("tab:red", "tab:blue"), strict=True):
            taking = run["rate"] > 0.0
            for row, name in enumerate(("speed", "rate")):
                axes[row, column].plot(run["frequency"][taking], run[name][taking], ".", ms=1.5, color=colour,
                                       label=label, alpha=0.6)
        axes[0, column].set_title(system.replace("_", " / "))
        axes[1, column].set_yscale("log")
        axes[1, column].set_xlabel("frequency (THz)")
    axes[0, 0].set_ylabel("group velocity (km/s)")
    axes[1, 0].set_ylabel("scattering rate at 300 K (1/ps)")
    axes[0, 0].legend(markerscale=6)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    both_kinds = pairs("")
    print_table(both_kinds)
    if both_kinds:
        draw(both_kinds, HERE / "velocities_and_rates.png")
