"""``hpcthermo dataset``: read, check, describe and convert data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcthermo.datasets.checks import DatasetReport, check_dataset
from hpcthermo.datasets.files import examine_file, format_of_file, write_dataset
from hpcthermo.datasets.findings import Finding
from hpcthermo.datasets.frames import BadFrame, LabelledFrame
from hpcthermo.datasets.statistics import dataset_statistics, statistics_lines, statistics_table
from hpcthermo.errors import InputError
from hpcthermo.plots.dataset import DATASET_FIGURE, draw_dataset
from hpcthermo.results import write_summary

#: findings of one severity that are printed
_SHOWN = 20


def dataset_command(sources: Sequence[Path], *, species: Sequence[str] | None = None, output: Path | None = None,
                    output_format: str | None = None, last: bool = False, drop: bool = False,
                    report_folder: Path | None = None) -> Iterator[str]:
    """Read files into one data set, check it, describe it, and write what was asked for.

    Parameters
    ----------
    sources : sequence of Path
        Files or folders of any format that is read.
    species : sequence of str, optional
        Declared ones; others are refused.
    output, output_format : Path, str, optional
        Where to write the set, and as what (`write_dataset`).
    last : bool
        Only the last frame of each source, as of a relaxation.
    drop : bool
        Leave refused frames and duplicates out instead of refusing the set.
    report_folder : Path, optional
        Where to write a figure and summary.json.

    Yields
    ------
    str
        Lines of text.

    Raises
    ------
    InputError
        If a file is not readable, or the set is refused; nothing is written then.
    ResourceError
        If a file cannot be written.
    """
    frames: list[LabelledFrame | BadFrame] = []
    names: list[str] = []
    for source in sources:
        found = list(enumerate(examine_file(source)))
        yield f"{source}: {len(found)} frames, {format_of_file(source).description}"
        for number, frame in found[-1:] if last else found:
            frames.append(frame)
            names.append(f"frame {number}" if len(sources) == 1 else f"{source} frame {number}")
    report = check_dataset(frames, species)
    bad = {finding.frame for finding in report.refused}
    usable = [frame for number, frame in enumerate(frames) if number not in bad and isinstance(frame, LabelledFrame)]
    if usable:
        yield from statistics_lines(dataset_statistics(usable))
    yield from _finding_lines(report, names)
    if bad and (not drop or None in bad):
        first = report.refused[0]
        raise InputError(f"data set refused, {len(report.refused)} reasons: {_name(first, names)}: {first.reason}"
                         + ("; correct it, or leave bad frames out with --drop" if None not in bad else ""))
    left_out = {number for number in bad if number is not None} | (set(report.duplicates) if drop else set())
    kept = [frame for number, frame in enumerate(frames) if number not in left_out and isinstance(frame, LabelledFrame)]
    if left_out:
        yield f"left out {len(left_out)} frames, {len(kept)} remain"
    if not kept:
        raise InputError("data set: no frame remains; correct the files")
    if report_folder is not None:
        yield from _write_report(kept, report, names, report_folder)
    if output is not None:
        form = write_dataset(kept, output, output_format)
        yield f"wrote {output} ({len(kept)} frames, {form.description})"


def _name(finding: Finding, names: Sequence[str]) -> str:
    return "data set" if finding.frame is None else names[finding.frame]


def _finding_lines(report: DatasetReport, names: Sequence[str]) -> Iterator[str]:
    for severity in ("refused", "warning", "note"):
        found = [finding for finding in report.findings if finding.severity == severity]
        yield from (f"{severity}: {_name(finding, names)}: {finding.reason}" for finding in found[:_SHOWN])
        if len(found) > _SHOWN:
            yield f"{severity}: ... and {len(found) - _SHOWN} more"
    facts = report.facts
    if "forces_left" in facts:
        parts = [f"a linear model leaves {facts['forces_left']:.1%} of the forces"]
        parts += [f"{facts[f'{plural}_left']:.1%} of the {plural} (best factor {facts[f'{name}_factor']:.3g})"
                  for name, plural in (("energy", "energies"), ("virial", "virials")) if f"{plural}_left" in facts]
        yield "consistency: " + ", ".join(parts)


def _write_report(frames: Sequence[LabelledFrame], report: DatasetReport, names: Sequence[str], folder: Path
                  ) -> Iterator[str]:
    statistics = dataset_statistics(frames)
    folder.mkdir(parents=True, exist_ok=True)
    yield f"wrote {draw_dataset(statistics, folder / DATASET_FIGURE)}"
    checks = {f"{k}": {"passed": finding.severity != "refused", "detail": f"{_name(finding, names)}: {finding.reason}"}
              for k, finding in enumerate(report.findings)}
    write_summary(folder, statistics_table(statistics), checks, {"consistency": report.facts})
    yield f"wrote {folder / 'summary.json'}"
