"""Job files that `hpcthermo init` writes."""

from __future__ import annotations

from pathlib import Path

from hpcthermo.errors import InputError, ResourceError
from hpcthermo.kinds import KINDS


def write_template(kind: str, path: Path, slurm: bool = False) -> list[Path]:
    """Write the commented job of a kind, and a Slurm script beside it if asked for.

    Raises
    ------
    InputError
        For an unknown kind, or if a file is there already.
    """
    if kind not in KINDS:
        raise InputError(f"init: expected one of {', '.join(KINDS)}, got {kind[:40]!r}; correct it")
    folder = Path(__file__).parent
    texts = {path: (folder / f"{kind}.toml").read_text()}
    if slurm:
        script = path.with_suffix(".slurm")
        texts[script] = (folder / "job.slurm").read_text().replace("JOB.toml", path.name)
    for target, text in texts.items():
        try:
            with target.open("x") as stream:
                stream.write(text)
        except FileExistsError:
            raise InputError(f"{target}: is there already; remove it or choose another name with --out") from None
        except OSError as error:
            raise ResourceError(f"{target}: cannot be written ({error.strerror}); choose another name with --out"
                                ) from None
    return list(texts)
