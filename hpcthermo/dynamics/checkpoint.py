"""Checkpoints on disk: complete or not there.

    checkpoints/step-000000012000/rank-00000.<token>.h5   a shard per rank, HDF5
                                  manifest.json           step, facts of the run, sizes and SHA-256 of the shards

Shards are composed in memory, written, synced and renamed; the manifest is renamed into place last, and only a folder
with a manifest counts. The previous generation stays until the next is complete, and one more is kept. A shard that
does not have the size and checksum of its manifest makes the reader take the previous generation.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcthermo.domain.comm import Communicator
from hpcthermo.dynamics.lock import FolderLock
from hpcthermo.errors import HpcthermoError, InputError, ResourceError
from hpcthermo.results import sync_folder

Shard = dict[str, np.ndarray]
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_GENERATIONS = 2


@dataclass(frozen=True)
class Generation:
    """A complete checkpoint on disk.

    Attributes
    ----------
    folder : Path
    step : int
        Steps of the whole job done.
    shards : tuple of (file name, bytes, SHA-256)
        By rank.
    facts : dict
        What the run wanted to remember: job, stage, tuned values.
    """

    folder: Path
    step: int
    shards: tuple[tuple[str, int, str], ...]
    facts: dict[str, Any]

    @property
    def n_ranks(self) -> int:
        """Ranks that wrote it."""
        return len(self.shards)

    def read_shard(self, rank: int) -> Shard:
        """Arrays of one rank.

        Raises
        ------
        InputError
            If the file is absent or not what the manifest says.
        """
        name, size, digest = self.shards[rank]
        path = self.folder / name
        try:
            if path.stat().st_size != size:
                raise InputError(f"{path}: expected {size} bytes, got {path.stat().st_size}")
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"{path}: its checksum differs from the manifest's")
        return unpack_shard(content)


def pack_shard(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An HDF5 file with one dataset per array, the same bytes for the same arrays."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as store:
        for name in sorted(arrays):
            store.create_dataset(name, data=np.asarray(arrays[name]))
    return stream.getvalue()


def unpack_shard(content: bytes) -> Shard:
    """Inverse of `pack_shard`."""
    import h5py

    arrays: Shard = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(io.BytesIO(content), "r") as store:
        store.visititems(keep)
    return {name: np.asarray(value) for name, value in arrays.items()}


class CheckpointStore:
    """The checkpoints of a results folder.

    Parameters
    ----------
    folder : Path
        Results folder.
    comm : Communicator
    lock : FolderLock
        Asked before every write.
    """

    def __init__(self, folder: Path, comm: Communicator, lock: FolderLock) -> None:
        self.folder = folder / FOLDER
        self._comm = comm
        self._lock = lock

    # ---- writing ---------------------------------------------------------------------------------

    def write(self, step: int, shard: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Write a generation (collective).

        Parameters
        ----------
        shard : name -> array of this rank
        facts : JSON values; those of rank 0 count

        Raises
        ------
        ResourceError
            On all ranks, if a rank cannot write (path and bytes named) or the folder was taken over. The previous
            generation is then still there.
        """
        target = self.folder / f"step-{step:012d}"
        self._together(target, lambda: self._prepare(target))
        content = pack_shard(shard)
        name = f"rank-{self._comm.rank:05d}.{self._lock.token}.h5"
        self._together(target, lambda: self._write_file(target / name, content))
        shards = self._comm.gather((name, len(content), hashlib.sha256(content).hexdigest()))
        self._together(target, lambda: self._complete(target, step, shards, dict(facts)))

    def _together(self, target: Path, action: Any) -> None:
        """Do something on all ranks; if one fails, remove the unfinished generation and raise on all."""
        problem: HpcthermoError | None = None
        try:
            self._lock.require()
            action()
        except HpcthermoError as error:
            problem = error
        except OSError as error:
            problem = ResourceError(f"{error.filename or target}: cannot be written ({error.strerror}); free space or "
                                    "quota and resume from the previous checkpoint")
        problems = [p for p in self._comm.allgather(problem) if p is not None]
        if problems:
            if self._comm.rank == 0 and self._lock.is_held():
                shutil.rmtree(target, ignore_errors=True)
            raise problems[0]

    def _prepare(self, target: Path) -> None:
        if self._comm.rank != 0:
            return
        # what a killed run left, or a generation that could not be read
        (target / MANIFEST).unlink(missing_ok=True)
        for folder in self.folder.glob("step-*"):
            if not (folder / MANIFEST).exists():
                shutil.rmtree(folder)
        target.mkdir(parents=True)

    def _write_file(self, path: Path, content: bytes) -> None:
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb", buffering=0) as stream:
                view = memoryview(content)
                while view:
                    view = view[stream.write(view):]
                os.fsync(stream.fileno())
            self._lock.require()
            temporary.replace(path)
        except OSError as error:
            raise ResourceError(f"{path}: {len(content)} bytes cannot be written ({error.strerror}); free space or "
                                "quota and resume from the previous checkpoint") from None

    def _complete(self, target: Path, step: int, shards: list[Any] | None, facts: dict[str, Any]) -> None:
        if self._comm.rank != 0:
            return
        sync_folder(target)
        content = {"format_version": FORMAT_VERSION, "step": step, "shards": shards, "facts": facts}
        text = json.dumps(content, sort_keys=True)
        manifest = {"content": content, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        self._write_file(target / MANIFEST, json.dumps(manifest, sort_keys=True).encode())
        sync_folder(target)
        sync_folder(self.folder)
        for generation in self.generations()[_GENERATIONS:]:
            (generation.folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(generation.folder, ignore_errors=True)

    # ---- reading ---------------------------------------------------------------------------------

    def generations(self) -> list[Generation]:
        """Complete generations, newest first (by their manifests; shards are checked when read)."""
        found = [_read_manifest(path) for path in self.folder.glob(f"step-*/{MANIFEST}")]
        return sorted((g for g in found if g is not None), key=lambda g: g.step, reverse=True)

    def newest(self) -> tuple[Generation | None, list[str]]:
        """The newest generation whose shards are all whole, and why newer ones were passed over (collective)."""
        complaints: list[str] = []
        generations = self._comm.bcast(self.generations() if self._comm.rank == 0 else None)
        for generation in generations:
            problem = ""
            try:
                for rank in range(self._comm.rank, generation.n_ranks, self._comm.size):
                    generation.read_shard(rank)
            except InputError as error:
                problem = str(error)
            problems = [p for p in self._comm.allgather(problem) if p]
            if not problems:
                return generation, complaints
            complaints += [f"checkpoint of step {generation.step} is damaged and not used: {p}" for p in problems]
        return None, complaints


def _read_manifest(path: Path) -> Generation | None:
    """None for a manifest that is not whole."""
    try:
        manifest = json.loads(path.read_text())
        content = manifest["content"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        if digest != manifest["sha256"] or content["format_version"] != FORMAT_VERSION:
            return None
        shards = tuple((str(n), int(b), str(d)) for n, b, d in content["shards"])
        if any(Path(name).name != name for name, _, _ in shards):
            return None
        return Generation(path.parent, int(content["step"]), shards, dict(content["facts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
