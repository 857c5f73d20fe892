"""The results folder: results.h5 and summary.json, replaced as a whole or not at all.

results.h5
    attributes        format, format_version, kind, title, created
    job               the resolved job as JSON text
    run/              attributes: atoms, steps, ranks, device, precision, instruction set, versions, tuned values, ...
    <group>/          attributes: facts of an experiment, such as the cross section
    <group>/<name>    datasets, each with the attributes ``unit`` ("1" for pure numbers) and ``description``

summary.json
    results           name -> {value, error, unit}
    checks            name -> {passed, detail}
    run               atoms, steps, ranks, device, atom_steps_per_second, ...
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.errors import InputError, ResourceError

FORMAT = "hpcthermo-results"
FORMAT_VERSION = 1
RESULTS_FILE = "results.h5"
SUMMARY_FILE = "summary.json"
#: ``results`` or ``checks`` of summary.json
Table = dict[str, dict[str, Any]]


def entry(value: float, unit: str, error: float | None = None) -> dict[str, Any]:
    """A result as summary.json has it; an error that is not finite is none."""
    known = error is not None and math.isfinite(error)
    return {"value": value, "error": error if known else None, "unit": unit}


@dataclass(frozen=True)
class Quantity:
    """Numbers with their unit.

    Attributes
    ----------
    values : ndarray
        Any shape; text as fixed-length bytes.
    unit : str
        "1" for pure numbers.
    description : str
        What it is, and what its axes are.
    """

    values: np.ndarray
    unit: str
    description: str = ""


@dataclass
class Results:
    """Content of a results file.

    Attributes
    ----------
    kind : str
        Kind of the job.
    job : dict
        The resolved job.
    run : dict
        Facts of the run.
    quantities : dict of str to Quantity
        By path, for example "series/temperature".
    attributes : dict of str to dict
        Facts that belong to one group of quantities, by the path of the group.
    """

    kind: str
    job: dict[str, Any]
    run: dict[str, Any]
    quantities: dict[str, Quantity] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def group(self, name: str) -> dict[str, Quantity]:
        """Quantities under ``name/``, by the rest of their path."""
        prefix = f"{name}/"
        return {path.removeprefix(prefix): q for path, q in self.quantities.items() if path.startswith(prefix)}


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is synced and takes its place, on failure it is removed.

    Raises
    ------
    ResourceError
        If the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(f"{path}: cannot be written ({error.strerror or error}); check space and permissions"
                            ) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    ResourceError
        If the disk refuses.
    """
    with replaced_file(path) as temporary:
        temporary.write_text(text)


def sync_folder(folder: Path) -> None:
    """Make names of files safe against a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_results(path: Path, results: Results) -> None:
    """Write results.h5 atomically."""
    import h5py

    with replaced_file(path) as temporary, h5py.File(temporary, "w") as store:
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        store.attrs.update(format=FORMAT, format_version=FORMAT_VERSION, kind=results.kind, created=created,
                           title=str(results.job.get("title", "")))
        job = store.create_dataset("job", data=json.dumps(results.job))
        job.attrs.update(unit="1", description="the job with all defaults, JSON")
        run = store.create_group("run")
        for name, value in results.run.items():
            run.attrs[name] = value if isinstance(value, str | bool | int | float) else json.dumps(value)
        for name, quantity in results.quantities.items():
            values = np.asarray(quantity.values)
            big = values.nbytes > 65536
            dataset = store.create_dataset(name, data=values, compression="gzip" if big else None, shuffle=big)
            dataset.attrs.update(unit=quantity.unit, description=quantity.description)
        for name, facts in results.attributes.items():
            store.require_group(name).attrs.update(facts)


def read_results(path: Path) -> Results:
    """Read results.h5.

    Raises
    ------
    InputError
        If the file is absent or not a results file of this version.
    """
    import h5py

    if not path.is_file():
        raise InputError(f"{path}: no such results file; name the folder of a finished run")
    try:
        with h5py.File(path, "r") as store:
            if store.attrs.get("format") != FORMAT or int(store.attrs.get("format_version", 0)) > FORMAT_VERSION:
                raise InputError(f"{path}: expected {FORMAT} up to version {FORMAT_VERSION}, got "
                                 f"{store.attrs.get('format')!r}; use the hpcthermo that wrote it")
            job = json.loads(store["job"].asstr()[()])
            results = Results(str(store.attrs["kind"]), job, _run_facts(store["run"].attrs))

            def keep(name: str, item: Any) -> None:
                if isinstance(item, h5py.Group) and name != "run" and len(item.attrs):
                    results.attributes[name] = dict(item.attrs)
                if isinstance(item, h5py.Dataset) and name != "job":
                    results.quantities[name] = Quantity(item[()], str(item.attrs["unit"]),
                                                        str(item.attrs.get("description", "")))

            store.visititems(keep)
    except (OSError, KeyError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a readable results file ({reason}); run the job again") from None
    return results


def _run_facts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, value in attributes.items():
        item = value.item() if hasattr(value, "item") else value
        if isinstance(item, str) and item[:1] in ("{", "["):
            item = json.loads(item)
        facts[name] = item
    return facts


def write_summary(folder: Path, results: Mapping[str, Mapping[str, Any]], checks: Mapping[str, Mapping[str, Any]],
                  run: Mapping[str, Any]) -> None:
    """Write summary.json atomically.

    Parameters
    ----------
    results : name -> {value, error, unit}
        Numbers that are not finite are stored as null.
    checks : name -> {passed, detail}
    run : facts of the run
    """
    content = {"results": results, "checks": checks, "run": run}
    with replaced_file(folder / SUMMARY_FILE) as temporary:
        temporary.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """Read summary.json.

    Raises
    ------
    InputError
        If it is absent or damaged.
    """
    path = folder / SUMMARY_FILE
    try:
        content = json.loads(path.read_text())
        return {key: content[key] for key in ("results", "checks", "run")}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: no readable summary; name the folder of a finished run, or redo it with "
                         "`hpcthermo analyze`") from None


def _plain(value: Any) -> Any:
    """The value in types of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def versions() -> dict[str, str]:
    """Versions of this program and of what its numbers depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "hpcthermo": "not installed"}  # as when run from its sources
    for name in ("hpcthermo", "numpy", "scipy", "h5py", "ase", "mpi4py", "mpich", "pydantic"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def value_text(result: dict[str, Any]) -> str:
    """A result as text: value and error to two digits of the error (a value of 8 digits at most), with unit."""
    value, error, unit = result["value"], result.get("error"), result["unit"]
    shown_unit = "" if unit == "1" else f" {unit}"
    if value is None or not math.isfinite(value):
        return "not determined"
    if error is None or not math.isfinite(error) or error <= 0.0:
        return f"{value:.6g}{shown_unit}"
    digits = min(12, max(0, 1 - math.floor(math.log10(error))))
    if abs(value) >= 1e6 or 0.0 < abs(value) < 1e-4:
        return f"({value:.3e} \N{PLUS-MINUS SIGN} {error:.1e}){shown_unit}"
    if error < 1e-7 * abs(value):
        return f"{value:.8g} \N{PLUS-MINUS SIGN} {error:.1e}{shown_unit}"
    return f"{value:.{digits}f} \N{PLUS-MINUS SIGN} {error:.{digits}f}{shown_unit}"
