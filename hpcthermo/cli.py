"""The command line. Commands import what they need when they run, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="hpcthermo",
    help="Heat transport with machine-learned and empirical potentials, from one job file to a report.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JobFile = Annotated[Path, typer.Argument(metavar="JOB.TOML", help="Job file; `hpcthermo init KIND` writes one.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Results folder of a run.")]
Ranks = Annotated[int | None, typer.Option("-n", "--ranks", help="Start this many MPI ranks on this machine.")]


@app.command()
def run(
    job: JobFile,
    out: Annotated[Path | None, typer.Option("--out", help="Results folder; default runs/NAME-OF-JOB.")] = None,
    ranks: Ranks = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint, if any.")] = False,
) -> None:
    """Run a job to its report; the same command under mpirun and srun."""
    from hpcthermo.config import load_job
    from hpcthermo.launch import needs_launcher, start_ranks
    from hpcthermo.run import run_job

    folder = out if out is not None else Path("runs") / job.stem
    if needs_launcher(ranks):
        load_job(job)  # a bad job file is refused before ranks start
        options = ["--out", str(folder), *(["--resume"] if resume else [])]
        raise typer.Exit(start_ranks(ranks or 1, ["run", str(job), *options]))
    raise typer.Exit(run_job(job, folder, resume))


@app.command()
def check(
    job: JobFile,
    ranks: Annotated[int, typer.Option("-n", "--ranks", help="Ranks the job will run on.")] = 1,
    probe: Annotated[bool, typer.Option(help="Time a few force calls for the estimate of the run time.")] = True,
) -> None:
    """Validate a job; print decomposition, ghosts, memory, steps and an estimate of time, without running it."""
    from hpcthermo.check import check_job

    print(check_job(job, ranks, probe).text())


@app.command()
def analyze(folder: Folder) -> None:
    """Redo the analysis of a run from its results.h5: summary, figures and report."""
    from hpcthermo.report import finish_results

    print(finish_results(folder))


@app.command()
def plot(folder: Folder) -> None:
    """Draw the figures of a run again, as PNG and PDF."""
    from hpcthermo.plots import draw_figures

    for path in draw_figures(folder):
        print(path)


@app.command()
def init(
    kind: Annotated[str, typer.Argument(help="nemd, md or minimize.")],
    path: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("job.toml"),
    slurm: Annotated[bool, typer.Option("--slurm", help="Write a Slurm script beside it.")] = False,
) -> None:
    """Write a commented working job file."""
    from hpcthermo.templates import write_template

    for written in write_template(kind, path, slurm):
        print(f"wrote {written}")


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the physics self-check.")] = False,
) -> None:
    """Report MPI, GPUs, NVRTC, HDF5, kernels and instruction set, and check the physics in about 20 s."""
    from hpcthermo.doctor import examine

    raise typer.Exit(examine(quick))


@app.command()
def status(folder: Folder) -> None:
    """Say how far a run is."""
    from hpcthermo.status import status_text

    print(status_text(folder))


@app.command()
def bench(
    job: Annotated[Path | None, typer.Argument(metavar="JOB.TOML", help="Job file; default an embedded case.")] = None,
    steps: Annotated[int, typer.Option(help="Time steps to measure.", min=1, max=1_000_000)] = 20,
    ranks: Ranks = None,
) -> None:
    """Measure atom-step/s of a job's potential on its structure, stage by stage."""
    from hpcthermo.bench import run_bench
    from hpcthermo.launch import needs_launcher, start_ranks

    if needs_launcher(ranks):
        arguments = ["bench", *([str(job)] if job else []), "--steps", str(steps)]
        raise typer.Exit(start_ranks(ranks or 1, arguments))
    run_bench(job, steps)


@app.command()
def schema() -> None:
    """Print the JSON schema of job files, for editors."""
    from hpcthermo.config.schema import schema_text

    print(schema_text(), end="")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; errors a user can act on are one line on stderr."""
    from hpcthermo.errors import EXIT_BAD_INPUT, HpcthermoError

    try:
        code = app(arguments or sys.argv[1:] or ["--help"], standalone_mode=False)
    except HpcthermoError as error:
        _say(str(error))
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _say("interrupted")
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain about it on exit
        code = 141
    except Exception as error:
        # typer brings its own copy of click, so a usage error is known by what it can do
        if not hasattr(error, "format_message"):
            raise
        _say(f"{error.format_message()}; see hpcthermo --help")
        code = EXIT_BAD_INPUT
    sys.exit(code if isinstance(code, int) else 0)


def _say(text: str) -> None:
    """One line on stderr, under a launcher from its rank 0 only."""
    from hpcthermo.domain.comm import launcher_rank

    if launcher_rank() == 0:
        print(f"hpcthermo: {' '.join(text.split())}", file=sys.stderr, flush=True)
