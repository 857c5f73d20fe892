"""What makes two runs the same run: the physics of the job and the content of the files it names.

Files count by the SHA-256 of their content, not by their path: a folder may be moved, an edited file is another job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcthermo.config.named_files import is_file, is_folder, named_files
from hpcthermo.file_hash import file_sha256, folder_sha256

if TYPE_CHECKING:
    from hpcthermo.config import Job, TaskJob

#: tables and keys that do not change the physics
_WITHOUT_PHYSICS = ("execution", "output", "title")
#: keys of [execution] of jobs of tasks that results depend on
_RESULTS_DEPEND_ON = ("precision", "look_interval")
#: characters of a value that is told of
_LONGEST_VALUE = 30


def file_hashes(job: Job | TaskJob) -> dict[str, str]:
    """SHA-256 of the structure, potential and crystal files and data sets of a job, by the name the job gives them.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    found = named_files(job.model_dump(mode="json"))
    hashes = {name: file_sha256(Path(name)) for _, name, kind in found if kind != "folder" and is_file(name)}
    return hashes | {name: folder_sha256(Path(name)) for _, name, kind in found if kind == "file or folder" and
                     name not in hashes and is_folder(name)}


def identity(job: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, Any]:
    """What a resumed run must have in common with the run that it continues.

    Parameters
    ----------
    job : mapping
        The job as JSON values, as in results.h5.
    hashes : name -> SHA-256
        From `file_hashes`.
    """
    kept = {name: value for name, value in job.items() if name not in _WITHOUT_PHYSICS}
    kept["structure"], kept["potential"] = _hashed(job["structure"], hashes), _hashed(job["potential"], hashes)
    kept["output"] = {"series_interval_steps": job["output"]["series_interval_steps"]}
    kept["execution"] = {name: job["execution"][name] for name in ("precision", "replicas")}
    return kept


def task_inputs(job: TaskJob, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What may decide which tasks a job has.

    Parameters
    ----------
    hashes : name -> SHA-256
        From `file_hashes`.
    """
    kept = {name: value for name, value in job.model_dump(mode="json").items()
            if name not in (*_WITHOUT_PHYSICS, "campaign")}
    kept = {name: _without_names(value, hashes) for name, value in kept.items()}
    table = getattr(job, "execution", None)
    execution = {name: getattr(table, name) for name in _RESULTS_DEPEND_ON if hasattr(table, name)}
    return {**kept, "execution": {"device": job.device, **execution}}


def table_sha256(table: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """SHA-256 of tables of a job, in which files count by their content.

    Parameters
    ----------
    hashes : name -> SHA-256
        From `file_hashes`.
    """
    return hashlib.sha256(json.dumps(_without_names(table, hashes), sort_keys=True).encode()).hexdigest()


def _without_names(value: Any, hashes: Mapping[str, str]) -> Any:
    """The value with names of files, wherever they stand, replaced by the hashes of their contents."""
    if isinstance(value, list):
        return [_without_names(single, hashes) for single in value]
    if isinstance(value, dict):
        return {key: _without_names(single, hashes) for key, single in value.items()}
    return hashes.get(value, value) if isinstance(value, str) else value


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys with other values than before (`task_inputs`), as text."""
    before, now = _flat(before, now), _flat(now, before)
    return [f"{key} {_value_text(now.get(key))} (was {_value_text(before.get(key))})"
            for key in sorted({*before, *now}) if before.get(key) != now.get(key)]


def _flat(table: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Tables that another one has too as one, by dotted keys; without what is none."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        there = other.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            flat |= _flat(value, there, f"{path}{key}.")
        elif value is not None:
            flat[f"{path}{key}"] = value
    return flat


def _value_text(value: Any) -> str:
    if value is None:
        return "none"
    text = "a table" if isinstance(value, Mapping) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _hashed(value: Any, hashes: Mapping[str, str]) -> Any:
    """The value with names of files replaced by the hashes of their contents."""
    if isinstance(value, list):
        return [_hashed(single, hashes) for single in value]
    if isinstance(value, dict):
        return {key: _hashed(single, hashes) if key in ("file", "path") or isinstance(single, dict | list) else single
                for key, single in value.items()}
    return hashes.get(value, value) if isinstance(value, str) else value
