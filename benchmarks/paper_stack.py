"""The 307,828-atom graphene/h-BN stack of jobs/gr_hbn_itc/paper.toml on CPU ranks, 200 steps.

Shortens every stage of the paper's job, asks `hpcthermo check` for memory and time, runs with baths and checkpoints,
sends SIGTERM in the second half, resumes, and compares the estimates with what the runs took.

    python benchmarks/paper_stack.py gr_hbn.nep.txt --ranks 2 --folder FOLDER
    python benchmarks/paper_stack.py gr_hbn.nep.txt --ranks 2 --folder FOLDER --estimate-only
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "hpcthermo"]
PAPER = Path(__file__).parents[1] / "jobs" / "gr_hbn_itc" / "paper.toml"
#: what shortens the paper's job to 20 + 20 + 160 steps of 0.5 fs
SHORTER = (
    (r'device = "cuda"', 'device = "cpu"'),
    # one skin for all runs: it is otherwise chosen by a timed trial, and two runs could differ in their last bits
    (r"replicas = 20", "replicas = 1\nskin_A = 1.0"),
    (r"duration_ps = 500\b", "steps = 20"), (r"duration_ps = 250\b", "steps = 20"),
    (r"warmup_ps = 500\b", "warmup_ps = 0.02"), (r"duration_ps = 2000\b", "duration_ps = 0.06"),
    (r"samples_per_average = 100", "samples_per_average = 1"),
    (r"checkpoint_interval_steps = 100000", "checkpoint_interval_steps = 50"),
    (r"series_interval_steps = 1000", "series_interval_steps = 10"),
)


def write_job(folder: Path, potential: Path) -> Path:
    """The shortened job and its potential in a folder."""
    text = PAPER.read_text()
    for pattern, replacement in SHORTER:
        text, changed = re.subn(pattern, replacement, text)
        if changed != 1:
            sys.exit(f"paper_stack: {PAPER.name} no longer holds {pattern!r} once")
    if not potential.is_file():
        sys.exit(f"paper_stack: no file {potential}; give the graphene/h-BN model")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(potential, folder / "gr_hbn.nep.txt")
    job = folder / "job.toml"
    job.write_text(text)
    return job


def run(job: Path, ranks: int, out: Path, *options: str, stop_at_step: int | None = None) -> tuple[int, float]:
    """Exit code and seconds of a run, which gets SIGTERM once it has done so many steps."""
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, "run", str(job), "-n", str(ranks), "--out", str(out), *options])
    status = out / "status.json"
    while stop_at_step is not None and process.poll() is None:
        time.sleep(0.5)
        if status.exists() and json.loads(status.read_text())["step"] >= stop_at_step:
            process.send_signal(signal.SIGTERM)
            break
    return process.wait(), time.monotonic() - began


def main() -> None:
    """Check, run, stop, resume, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("potential", type=Path)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="for the job and its results")
    parser.add_argument("--estimate-only", action="store_true", help="no runs")
    options = parser.parse_args()
    job = write_job(options.folder, options.potential)
    if code := subprocess.run([*COMMAND, "check", str(job), "-n", str(options.ranks)], check=False).returncode:
        sys.exit(code)
    if options.estimate_only:
        return
    whole, stopped = options.folder / "whole", options.folder / "stopped"
    for folder in (whole, stopped):
        shutil.rmtree(folder, ignore_errors=True)
    code, seconds = run(job, options.ranks, whole)
    summary = json.loads((whole / "summary.json").read_text())
    print(f"uninterrupted: exit code {code}, {seconds:.1f} s of wall time")
    print(json.dumps(summary["run"], indent=1))
    code, seconds = run(job, options.ranks, stopped, stop_at_step=120)
    print(f"SIGTERM after step 120: exit code {code} after {seconds:.1f} s")
    code, seconds = run(job, options.ranks, stopped, "--resume")
    resumed = json.loads((stopped / "summary.json").read_text())
    print(f"resumed at step {resumed['run']['resumed_from_step']}: exit code {code} after {seconds:.1f} s")
    verdict = "the same to the last bit" if resumed["results"] == summary["results"] else "DIFFERENT"
    print(f"results of the resumed and of the uninterrupted run are {verdict}")


if __name__ == "__main__":
    main()
