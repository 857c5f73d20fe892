"""The command line. Commands import what they need when they run, so that ``--help`` answers at once."""

from __future__ import annotations

import math
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


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, got {value}")
    return value


Ranks = Annotated[int | None, typer.Option("-n", "--ranks", help="Start this many MPI ranks on this machine.")]
Out = Annotated[Path | None, typer.Option("--out", help="Results folder; default runs/NAME-OF-JOB.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint, if any.")]


@app.command()
def run(job: JobFile, out: Out = None, ranks: Ranks = None, resume: Resume = False) -> None:
    """Run a job to its report; the same command under mpirun and srun."""
    from hpcthermo.config import load_job
    from hpcthermo.launch import needs_launcher, start_ranks
    from hpcthermo.run import run_job

    folder = out if out is not None else Path("runs") / job.stem
    if ranks is not None and needs_launcher(ranks):
        load_job(job)  # a bad job file is refused before ranks start
        options = ["--out", str(folder), *(["--resume"] if resume else [])]
        raise typer.Exit(start_ranks(ranks, ["run", str(job), *options]))
    raise typer.Exit(run_job(job, folder, resume))


def _run_kind(job: Path, kinds: tuple[str, ...], out: Path | None, resume: bool,
              retry_failed: bool = False) -> NoReturn:
    """Run a job after a look at its kind."""
    from functools import partial

    from hpcthermo.config import load_job
    from hpcthermo.errors import InputError
    from hpcthermo.run import run_job

    kind = load_job(job).kind
    if kind not in kinds:
        raise InputError(f"{job}: expected kind {' or '.join(kinds)}, got {kind}; use `hpcthermo run`")
    raise typer.Exit(run_job(job, out if out is not None else Path("runs") / job.stem, resume,
                             partial(load_job, retry_failed=retry_failed)))


@app.command()
def fc(job: JobFile, out: Out = None, resume: Resume = False) -> None:
    """Force constants of a crystal (kind fc), in the formats of phonopy, phono3py, ShengBTE and TDEP."""
    _run_kind(job, ("fc",), out, resume)


@app.command()
def phonon(job: JobFile, out: Out = None, resume: Resume = False) -> None:
    """Dispersion, densities of states and Grueneisen parameters (kind phonon)."""
    _run_kind(job, ("phonon",), out, resume)


@app.command()
def bte(job: JobFile, out: Out = None, resume: Resume = False) -> None:
    """Thermal conductivity by the phonon Boltzmann equation (kinds bte and bte_convergence)."""
    _run_kind(job, ("bte", "bte_convergence"), out, resume)


@app.command()
def label(
    job: JobFile,
    out: Out = None,
    resume: Resume = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try rejected structures again, as "
                                               "campaign.retry_failed = true.")] = False,
) -> None:
    """Energies, forces and virials of structures by an electronic-structure code (kind label)."""
    _run_kind(job, ("label",), out, resume, retry_failed)


@app.command()
def train(
    job: Annotated[Path, typer.Argument(metavar="JOB.TOML|NEP.IN", help="Job of kind train, or a nep.in of GPUMD with "
                                        "train.xyz (and test.xyz) beside it.")],
    out: Out = None,
    resume: Resume = False,
    max_minutes: Annotated[float | None, typer.Option(help="End training after this time with the best model so far.",
                                                      callback=_finite)] = None,
    optimiser: Annotated[str | None, typer.Option(help="gradient (the default) or snes, with its default settings or "
                                                  "those of nep.in.")] = None,
) -> None:
    """Train a NEP on labelled frames (kind train); nep.txt in the results folder is the model."""
    from functools import partial

    from hpcthermo.run import run_job
    from hpcthermo.training.load import load_train_job

    load = partial(load_train_job, max_minutes=max_minutes, optimiser=optimiser)
    raise typer.Exit(run_job(job, out if out is not None else Path("runs") / job.stem, resume, load))


@app.command()
def check(
    job: JobFile,
    ranks: Annotated[int, typer.Option("-n", "--ranks", help="Ranks the job will run on.", min=1)] = 1,
    probe: Annotated[bool, typer.Option(help="Time a few force calls for the estimate of the run time.")] = True,
) -> None:
    """Validate a job; print decomposition, ghosts, memory, steps and an estimate of time, without running it."""
    from hpcthermo.check import check_job

    print(check_job(job, ranks, probe).text())


@app.command()
def build(
    job: Annotated[Path | None, typer.Argument(metavar="JOB.TOML", help="A job, or a file with a [structure] table.")
                   ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; its name says the format.")
                      ] = Path("model.xyz"),
    angles: Annotated[tuple[float, float] | None, typer.Option(
        metavar="LOW HIGH", help="Instead: list commensurate twists between two angles, degrees.")] = None,
) -> None:
    """Write the structure of a job, all frames of its perturbations, and a picture beside it."""
    from hpcthermo.build_command import angle_lines, build_command

    if (job is None) == (angles is None):
        raise typer.BadParameter("expected either JOB.TOML or --angles LOW HIGH")
    for line in angle_lines(*angles) if angles is not None else build_command(job, output) if job is not None else []:
        print(line)


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
    kind: Annotated[str, typer.Argument(help="Kind of job: nemd, md, minimize, binding_curve, ...")],
    path: Annotated[Path, typer.Option("--out", help="File to write.")] = Path("job.toml"),
    slurm: Annotated[bool, typer.Option("--slurm", help="Write a Slurm script beside it.")] = False,
) -> None:
    """Write a commented working job file."""
    from hpcthermo.templates import write_template

    for written in write_template(kind, path, slurm):
        print(f"wrote {written}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Structure file, run.in of GPUMD, or the cells of "
                                           "force constants: phonopy.yaml, CONTROL, infile.ucposcar.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="*.xyz, POSCAR*, *.data, *.cif; *.toml; or as for "
                                           "force constants above.")],
    species: Annotated[str | None, typer.Option(help="Elements of the atom types of LAMMPS data, as B,N,C.")] = None,
    grouping_method: Annotated[int, typer.Option(help="Groups of a GPUMD model.xyz to keep.", min=0)] = 0,
    periodic: Annotated[str | None, typer.Option(help="Periodic directions, as TTF, if the source is silent.")] = None,
) -> None:
    """Convert a structure file, GPUMD's run.in to a job file, or force constants with what lies beside their cells."""
    from hpcthermo.convert import convert as convert_file

    if periodic is not None and (len(periodic) != 3 or set(periodic) - set("TF")):
        raise typer.BadParameter(f"--periodic: expected three letters T or F, as TTF, got {periodic[:20]!r}")
    flags = None if periodic is None else [letter == "T" for letter in periodic]
    for line in convert_file(source, target, species.split(",") if species else None, grouping_method, flags):
        print(line)


@app.command()
def dataset(
    sources: Annotated[list[Path], typer.Argument(metavar="FILE...", help="train.xyz, a folder of DeePMD-kit, "
                                                  "vasprun.xml, OUTCAR, output of pw.x.")],
    species: Annotated[str | None, typer.Option(help="The elements there may be, as B,C,N.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the set: *.xyz, or a folder for DeePMD-kit.")] = None,
    form: Annotated[str | None, typer.Option("--format", help="Of --out: xyz or deepmd; default by its name.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for a figure and summary.json.")] = None,
    last: Annotated[bool, typer.Option("--last", help="Only the last frame of each file.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Leave refused frames and duplicates out.")] = False,
) -> None:
    """Check data sets of energies, forces and virials, print what they contain, and convert them."""
    from hpcthermo.dataset_command import dataset_command

    declared = [symbol.strip() for symbol in species.split(",")] if species else None
    for line in dataset_command(sources, species=declared, output=out, output_format=form, last=last, drop=drop,
                                report_folder=report):
        print(line)


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the physics self-check.")] = False,
) -> None:
    """Report MPI, GPUs, NVRTC, HDF5, kernels and instruction set, and check the physics in about 10 s."""
    from hpcthermo.doctor import examine

    raise typer.Exit(examine(quick))


@app.command()
def status(folder: Folder) -> None:
    """Say how far a run is."""
    from hpcthermo.status import status_text

    print(status_text(folder))


@app.command()
def bench(
    job: Annotated[Path | None, typer.Argument(metavar="JOB.TOML",
                                                     help="A job: its potential, structure and [execution].")] = None,
    potential: Annotated[str | None, typer.Option(help="File or embedded name; several with commas are added.")] = None,
    structure: Annotated[str | None, typer.Option(help="File or name of a built-in crystal.")] = None,
    precision: Annotated[str | None, typer.Option(help="mixed or double; default that of the job, or mixed.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default that of the job, or cpu.")] = None,
    ranks: Ranks = None,
    steps: Annotated[int, typer.Option(help="Time steps to measure.", min=1, max=1_000_000)] = 50,
    warm_up: Annotated[int, typer.Option(help="Time steps before.", min=0, max=1_000_000)] = 10,
    skin: Annotated[str, typer.Option(help="Of the neighbour lists, A; auto tunes it before step 0.")] = "auto",
    temperature: Annotated[float, typer.Option(help="Of atoms at rest in the structure, K.", min=0.0, max=1e5,
                                               callback=_finite)] = 300.0,
    timestep: Annotated[float, typer.Option(help="fs.", min=1e-6, max=100.0, callback=_finite)] = 0.5,
    virials_every: Annotated[int, typer.Option(help="Sample per-atom virials every so many steps, at most --steps; "
                                               "0 never.", min=0)] = 0,
    model: Annotated[bool, typer.Option("--model", help="Predict 1 to 1,024 ranks.")] = False,
    latency: Annotated[float | None, typer.Option(help="With --model: of the network, us per message pair; default 30.",
                                                  min=0.0, callback=_finite)] = None,
    bandwidth: Annotated[float | None, typer.Option(help="With --model: of the network, GB/s per rank; default 20.",
                                                    min=1e-6, callback=_finite)] = None,
    measure_network: Annotated[bool, typer.Option("--measure-network", help="With --model and -n: measure the network "
                                                  "between these ranks instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Measure atom-step/s of a potential on a structure, stage by stage, and how far it is from the peak."""
    from hpcthermo.bench.case import make_case, make_network
    from hpcthermo.launch import needs_launcher, start_ranks

    # options are refused before ranks start
    case = make_case(job, potential, structure, device, precision, skin, steps=steps, warm_up=warm_up,
                     temperature_K=temperature, timestep_fs=timestep, virials_every=virials_every)
    network = make_network(model, measure_network, latency, bandwidth)
    if ranks is not None and needs_launcher(ranks):
        given = {"potential": potential, "structure": structure, "precision": precision, "device": device,
                 "steps": steps, "warm-up": warm_up, "skin": skin, "temperature": temperature, "timestep": timestep,
                 "virials-every": virials_every, "latency": latency, "bandwidth": bandwidth}
        words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        flags = [flag for flag, on in (("--model", model), ("--json", as_json),
                                       ("--measure-network", measure_network)) if on]
        raise typer.Exit(start_ranks(ranks, ["bench", *([str(job)] if job else []), *words, *flags]))

    from hpcthermo.bench.report import run_bench

    run_bench(case, as_json, network, measure_network)


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
