"""Damaged inputs: a seed gives a mutated copy of a text. Run as a script it feeds many of them to the program.

    python mutations.py FIRST COUNT FOLDER KIND ...    KIND: job, structure, potential

prints one JSON object: by kind, how many were refused with one line, how many were still usable, and all other
outcomes.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import traceback
from pathlib import Path

from job_files import NEMD_JOB

STRUCTURE = """8
Lattice="5.43 0 0 0 5.43 0 0 0 5.43" Properties=species:S:1:pos:R:3:mass:R:1:vel:R:3:group:I:1 pbc="T T T"
Si 0.00 0.00 0.00 28.085 0.001 0.0 0.0 0
Si 0.00 2.715 2.715 28.085 0.001 0.0 0.0 0
Si 2.715 0.00 2.715 28.085 0.0 0.001 0.0 1
Si 2.715 2.715 0.00 28.085 0.0 0.001 0.0 1
Si 1.3575 1.3575 1.3575 28.085 0.0 0.0 0.001 2
Si 1.3575 4.0725 4.0725 28.085 0.0 0.0 0.001 2
Si 4.0725 1.3575 4.0725 28.085 0.0 0.0 0.0 3
Si 4.0725 4.0725 1.3575 28.085 0.0 0.0 0.0 3
"""
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
POTENTIALS = [SHARED / "nep" / "pbte_reference" / "nep.txt", SHARED / "empirical" / "Si.tersoff",
              SHARED / "empirical" / "Tersoff_BNC_Kinaci2012.gpumd.txt", SHARED / "nep" / "gr_hbn_liang2025.nep.txt",
              SHARED / "empirical" / "Si.sw", SHARED / "empirical" / "BNCH.ILP",
              SHARED / "empirical" / "ILP_gr_hbn_Ouyang2018.gpumd.txt"]
STRANGE = ["nan", "inf", "-1", "0", "1e999", "99999999999999999999", "2147483648", "-0.5", "abc", "''", "[]", "{}",
           "true", "[1, [2, 3]]", "1e-320", "0x7fffffffffffffff", "1979-05-27", "\x00", "é", "'" * 3, "4000000000", ""]
SECONDS_PER_INPUT = 20


def mutated(text: str, random_numbers: random.Random) -> bytes:
    """One kind of damage, chosen and placed at random."""
    lines = text.splitlines(keepends=True)
    where = random_numbers.randrange(len(lines))
    kind = random_numbers.choice(["token", "token", "token", "typo", "drop", "double", "swap", "cut", "byte", "binary"])
    if kind == "token":
        tokens = lines[where].split(" ")
        tokens[random_numbers.randrange(len(tokens))] = random_numbers.choice(STRANGE)
        lines[where] = " ".join(tokens).rstrip("\n") + "\n"
    elif kind == "typo":
        at = random_numbers.randrange(max(1, len(lines[where])))
        lines[where] = lines[where][:at] + random_numbers.choice("xyz9.-[=") + lines[where][at + 1:]
    elif kind == "drop":
        del lines[where]
    elif kind == "double":
        lines.insert(where, lines[where])
    elif kind == "swap":
        other = random_numbers.randrange(len(lines))
        lines[where], lines[other] = lines[other], lines[where]
    data = "".join(lines).encode()
    if kind == "cut":
        data = data[: random_numbers.randrange(len(data))]
    elif kind == "byte":
        at = random_numbers.randrange(len(data))
        data = data[:at] + bytes([random_numbers.randrange(256)]) + data[at + 1:]
    elif kind == "binary":
        data = random_numbers.randbytes(random_numbers.choice([0, 1, 10, 1000, 5000]))
    return data


def use_job(path: Path) -> None:
    from hpcthermo.check import check_job

    check_job(path, 2, probe=False)


def use_structure(path: Path) -> None:
    from hpcthermo.config.structure import FileStructure
    from hpcthermo.preparation import build_structure

    build_structure(FileStructure(file=str(path)))


def use_potential(path: Path) -> None:
    from hpcthermo.gpu.backend import make_backend
    from hpcthermo.potentials.load import load_potential

    potential = load_potential(str(path), path.parent)
    potential.bind(potential.elements[:4], make_backend("cpu", "double"))


def original(kind: str, seed: int) -> tuple[str, str]:
    """Text to damage, and the name of its file."""
    if kind == "job":
        return NEMD_JOB, "job.toml"
    if kind == "structure":
        return STRUCTURE, "model.xyz"
    known = [path for path in POTENTIALS if path.exists()]
    path = known[seed % len(known)]
    return path.read_text(), path.name


USES = {"job": use_job, "structure": use_structure, "potential": use_potential}


def outcome(kind: str, path: Path) -> str:
    """"refused", "usable", or what went wrong."""
    from hpcthermo.errors import InputError

    def too_slow(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS_PER_INPUT)
    try:
        USES[kind](path)
        return "usable"
    except InputError as error:
        text = " ".join([type(error).__name__, str(error)])
        return "refused" if "\n" not in text and len(text) < 3000 else f"not one line: {text[:300]!r}"
    except BaseException:
        return traceback.format_exc()[-1500:]
    finally:
        signal.alarm(0)


def main(first: int, count: int, folder: Path, kinds: list[str]) -> None:
    for kind in kinds:
        text, name = original(kind, 0)
        (folder / name).write_text(text)
        assert outcome(kind, folder / name) == "usable", outcome(kind, folder / name)  # also imports all it needs
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**30, in_use + 2**30))
    print(json.dumps({kind: outcomes(kind, first, count, folder) for kind in kinds}))


def outcomes(kind: str, first: int, count: int, folder: Path) -> dict[str, object]:
    """Of mutations first, first + 1, ... of a kind of input."""
    counts = {"refused": 0, "usable": 0}
    others = []
    for seed in range(first, first + count):
        text, name = original(kind, seed)
        path = folder / name
        path.write_bytes(mutated(text, random.Random(f"{kind} {seed}")))
        found = outcome(kind, path)
        if found in counts:
            counts[found] += 1
        else:
            others.append({"seed": seed, "outcome": found})
    return {**counts, "others": others}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
