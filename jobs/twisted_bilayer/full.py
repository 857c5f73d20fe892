"""The whole flow: all jobs beside this file, one after the other, then AB against turned (compare.py).

`python full.py` runs what is not finished yet; kill it and start it again at any moment, and it goes on.
`python full.py graphene_AB graphene_twisted` runs these jobs only.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SYSTEMS = ("graphene", "hbn", "graphene_hbn")
#: in this order, for some read force constants that others leave
JOBS = [f"{system}_{kind}" for system in SYSTEMS for kind in ("AB", "twisted")]
JOBS += ["graphene_twisted_24", "graphene_AB_meshes", *(f"{system}_AB_cutoffs" for system in SYSTEMS)]


def main(names: list[str]) -> int:
    """Run jobs to their reports; the first exit code that is not 0."""
    unknown = sorted(set(names) - set(JOBS))
    if unknown:
        print(f"full.py: expected names among {', '.join(JOBS)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    for name in names or JOBS:
        folder = HERE / f"out_{name}"
        if (folder / "summary.json").exists():
            print(f"{name}: finished")
            continue
        command = [sys.executable, "-m", "hpcthermo", "run", f"{name}.toml", "--out", folder.name]
        print(f"{name}: {' '.join(command[2:])}", flush=True)
        ended = subprocess.run([*command, *(["--resume"] if folder.exists() else [])], cwd=HERE, check=False)
        if ended.returncode:
            return ended.returncode
    return subprocess.run([sys.executable, "compare.py"], cwd=HERE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
