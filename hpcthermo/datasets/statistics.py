"""What a data set contains: counts, ranges and distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hpcthermo.datasets.frames import LabelledFrame
from hpcthermo.results import Table, entry
from hpcthermo.structure.checks import with_close_images
from hpcthermo.units import PRESSURE_GPA

#: nearest neighbours are looked for up to these distances, A
_REACHES = (3.0, 8.0)


@dataclass(frozen=True)
class DatasetStatistics:
    """Numbers of each frame; NaN where a frame has no such label.

    Attributes
    ----------
    groups, compositions : tuple of str
        Of each frame; a composition is a formula, "B2C4".
    atoms : (M,) int
    energies : (M,) float64
        eV per atom.
    volumes : (M,) float64
        A^3 per atom; NaN for frames that are not periodic in all directions.
    pressures : (M,) float64
        tr W / (3 V), GPa, positive under compression.
    largest_forces : (M,) float64
        eV/A.
    nearest_distances : (M,) float64
        A.
    forces : (sum of N,) float64
        Magnitudes of the forces on all atoms, eV/A.
    """

    groups: tuple[str, ...]
    compositions: tuple[str, ...]
    atoms: np.ndarray
    energies: np.ndarray
    volumes: np.ndarray
    pressures: np.ndarray
    largest_forces: np.ndarray
    nearest_distances: np.ndarray
    forces: np.ndarray


def dataset_statistics(frames: Sequence[LabelledFrame]) -> DatasetStatistics:
    """Statistics of a data set."""
    def per_frame(value: Callable[[LabelledFrame], float | None]) -> np.ndarray:
        return np.array([np.nan if (found := value(frame)) is None else found for frame in frames])

    def volume(frame: LabelledFrame) -> float | None:
        return frame.volume if frame.periodic.all() and frame.volume > 0.0 else None

    def pressure(frame: LabelledFrame) -> float | None:
        if frame.virial is None or volume(frame) is None:
            return None
        return float(np.trace(frame.virial)) / (3.0 * frame.volume) * PRESSURE_GPA

    magnitudes = [np.linalg.norm(frame.forces, axis=1) for frame in frames if frame.forces is not None]
    atoms = np.array([frame.n_atoms for frame in frames])
    return DatasetStatistics(
        groups=tuple(frame.group for frame in frames), compositions=tuple(composition(frame) for frame in frames),
        atoms=atoms, energies=per_frame(lambda frame: frame.energy) / atoms, volumes=per_frame(volume) / atoms,
        pressures=per_frame(pressure),
        largest_forces=per_frame(lambda f: None if f.forces is None else np.linalg.norm(f.forces, axis=1).max()),
        nearest_distances=per_frame(lambda frame: None if (near := nearest_distance(frame)) is None else near[0]),
        forces=np.concatenate(magnitudes) if magnitudes else np.empty(0),
    )


def composition(frame: LabelledFrame) -> str:
    """Formula of a frame, "B2C4"."""
    return "".join(f"{symbol}{count}" for symbol, count in sorted(Counter(frame.symbols).items()))


def nearest_distance(frame: LabelledFrame) -> tuple[float, int, int] | None:
    """Distance (A) and numbers of the two nearest atoms, over all images; None if none are within 8 A."""
    from scipy.spatial import cKDTree

    for reach in _REACHES:
        wrapped, padded, owners = with_close_images(frame.cell, frame.periodic, frame.positions, reach)
        distances, rows = cKDTree(padded).query(wrapped, k=[2], distance_upper_bound=reach)
        i = int(np.argmin(distances[:, 0]))
        if np.isfinite(distances[i, 0]):
            return float(distances[i, 0]), i, int(owners[rows[i, 0]])
    return None


#: what is said of the numbers of frames: name -> attribute, unit
_RANGES = {
    "energy": ("energies", "eV/atom"), "volume": ("volumes", "A^3/atom"), "pressure": ("pressures", "GPa"),
    "largest force": ("largest_forces", "eV/A"), "nearest distance": ("nearest_distances", "A"),
}


def statistics_lines(statistics: DatasetStatistics) -> list[str]:
    """Text with units: counts, ranges, then a row for each group and, if they are few, each composition."""
    frames, atoms = len(statistics.atoms), int(statistics.atoms.sum())
    lines = [f"frames {frames}, atoms {atoms} ({statistics.atoms.min()} to {statistics.atoms.max()} a frame)"]
    for label, (name, unit) in _RANGES.items():
        values = getattr(statistics, name)
        known = values[np.isfinite(values)]
        if len(known):
            lines.append(f"  {label:17s} {known.min():12.5g} to {known.max():<12.5g} {unit} ({len(known)} frames)")
    if len(statistics.forces):
        rms, p99 = float(np.sqrt(np.mean(statistics.forces**2))), float(np.quantile(statistics.forces, 0.99))
        lines.append(f"  {'force on an atom':17s} root mean square {rms:.4g} eV/A, 99 % below {p99:.4g} eV/A")
    for title, names in (("group", statistics.groups), ("composition", statistics.compositions)):
        counts = Counter(names)
        if len(counts) > 1 or any(counts):
            shown = counts.most_common(12)
            lines += [f"  {title} {name or '(none)'}: {count} frames" for name, count in shown]
            lines += [f"  ... and {len(counts) - len(shown)} other {title}s"] if len(counts) > len(shown) else []
    return lines


def statistics_table(statistics: DatasetStatistics) -> Table:
    """Counts and ranges for summary.json."""
    table: Table = {"frames": entry(len(statistics.atoms), "1"), "atoms": entry(int(statistics.atoms.sum()), "1")}
    for label, (name, unit) in _RANGES.items():
        values = getattr(statistics, name)
        known = values[np.isfinite(values)]
        for which, bound in (("lowest", np.min), ("highest", np.max)):
            if len(known):
                table[f"{which}_{label.replace(' ', '_')}"] = entry(float(bound(known)), unit)
    if len(statistics.forces):
        table["rms_force_magnitude"] = entry(float(np.sqrt(np.mean(statistics.forces**2))), "eV/A")
    for title, names in (("group", statistics.groups), ("composition", statistics.compositions)):
        table |= {f"frames of {title} {name or '(none)'}": entry(count, "1") for name, count in Counter(names).items()}
    return table
