"""The job file: what is accepted, and that every error is one line with its TOML path."""

import tomllib

import pytest
from job_files import NEMD_JOB, changed

from hpcthermo.config import JobFileError, MinimizeJob, NemdJob, load_job, parse_job
from hpcthermo.config.job import JOB_KINDS
from hpcthermo.errors import InputError


@pytest.fixture
def job() -> dict:
    return tomllib.loads(NEMD_JOB)


def problems(data: dict) -> list[str]:
    with pytest.raises(JobFileError) as error:
        parse_job(data)
    assert "\n" not in str(error.value)
    return error.value.problems


def test_defaults_and_derived_numbers(job):
    parsed = parse_job(job)
    assert isinstance(parsed, NemdJob)
    assert parsed.stage[0].temperature_ramp == (10.0, 300.0)
    assert (parsed.nemd.source_temperature, parsed.nemd.sink_temperature) == (330.0, 270.0)
    assert parsed.total_steps == 2000 + 2000 + 20000
    assert parsed.execution.precision == "mixed"


def test_minimisation_defaults_to_double():
    parsed = parse_job({"kind": "minimize", "structure": {"file": "a"}, "potential": "x"})
    assert isinstance(parsed, MinimizeJob)
    assert parsed.execution.precision == "double"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("nemd.duratio_ps", 3, "nemd.duratio_ps: unknown key, did you mean duration_ps?"),
        ("nemd.duration_ps", "3", "nemd.duration_ps: expected a number, got '3'"),
        ("nemd.duration_ps", -3, "nemd.duration_ps: expected greater than 0, got -3"),
        ("nemd.duration_ps", float("nan"), "nemd.duration_ps: expected a finite number, got nan"),
        ("nemd.duration_ps", True, "nemd.duration_ps: expected a number, got True"),
        ("nemd.axis", "w", "nemd.axis: expected 'x', 'y' or 'z', got 'w'"),
        ("nemd.temperature_K", 10**4000, "nemd.temperature_K: expected a number, got an integer beyond 10^18"),
        ("nemd.temperature_difference_K", 700, "nemd: temperature_difference_K: expected less than twice"),
        ("nemd.sink_layers", [], "nemd: expected one of sink_layers, sink_region_A and sink_groups"),
        ("stage.0.ensemble", "nvt", "stage[0].ensemble: expected one of 'nve', 'langevin'"),
        ("stage.0.pressure_GPa", 0, "stage[0].pressure_GPa: unknown key here (it belongs to another form"),
        ("stage.0.temperature_K", "hot", "stage[0].temperature_K: expected a number or a list, got 'hot'"),
        ("stage.0.steps", 5, "stage[0]: expected either duration_ps or steps"),
        ("stage", 3, "stage: expected a list, got 3"),
        ("structure", {}, "structure.file: required key is missing"),
        ("structure.layers.0.count", 1.5, "structure.layers[0].count: expected an integer"),
        ("structure.layers.1.material", "silicene", "structure.layers[1].material: expected 'graphene', 'h-BN'"),
        ("potential", [], "potential: expected"),
        ("potential", {"path": "a", "name": "b"}, "potential: expected either path (a file) or name"),
        ("execution", {"decomposition": [1, 2]}, "execution.decomposition: expected 'auto' or 'slab' or a list"),
        ("kind", "nmd", f"kind: expected one of {', '.join(JOB_KINDS)}, got 'nmd', did you mean nemd?"),
        ("seed", -1, "seed: expected greater than or equal to 0, got -1"),
    ],
)
def test_an_error_names_path_expectation_and_value(job, path, value, expected):
    found = problems(changed(job, path, value))
    assert any(line.startswith(expected) for line in found), found


def test_all_errors_are_named_at_once(job):
    for path, value in (("nemd.axis", "w"), ("seed", "one"), ("structure.spacing_A", -1), ("colour", "red")):
        job = changed(job, path, value)
    found = problems(job)
    assert {line.split(":")[0] for line in found} == {"nemd.axis", "seed", "structure.spacing_A", "colour"}


def test_a_misspelt_required_key_is_one_error_not_two(job):
    duration = job["nemd"].pop("duration_ps")
    assert len(problems(changed(job, "nemd.duration_pz", duration))) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "kind: required key is missing"),
        (b"kind = ", "not TOML"),
        (b"\x00\x01\xff\xfe", "UTF-8"),
        (b"\xff\xfek\x00i\x00n\x00d\x00", "UTF-8"),
        (b"x = " + b"9" * 10_000, "not TOML"),
        (b"x = " + b"[" * 10_000, "nested"),
        (b"a." * 3000 + b"a = 1", "nested"),
        (b"# " + b"x" * 300_000, "at most"),
        (b"kind = 'nemd'\nkind = 'nemd'", "not TOML"),
        (b"kind = \"nemd\\u0000\"", "kind: expected one of"),
    ],
)
def test_a_file_that_is_not_a_job_is_one_line(tmp_path, content, words):
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_job(path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_byte_order_mark_is_not_an_error(tmp_path):
    path = tmp_path / "job.toml"
    path.write_bytes(b"\xef\xbb\xbf" + NEMD_JOB.encode())
    assert load_job(path).kind == "nemd"


@pytest.mark.parametrize("name", ["absent.toml", ".", "a\x00b", "x" * 5000])
def test_a_path_without_a_file_is_one_line(tmp_path, name):
    with pytest.raises(InputError) as error:
        load_job(tmp_path / name)
    assert "\n" not in str(error.value)


def test_files_are_relative_to_the_job_file(tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nC 0 0 0\n")
    path = tmp_path / "job.toml"
    path.write_text('kind = "minimize"\npotential = "name"\nstructure.file = "a.xyz"\n')
    job = load_job(path)
    assert job.structure.file == str(tmp_path / "a.xyz")
    assert job.potential == "name"
    path.write_text('kind = "minimize"\npotential.path = "nep.txt"\nstructure.file = "b.xyz"\n')
    with pytest.raises(JobFileError) as error:
        load_job(path)
    assert [line.split(":")[0] for line in error.value.problems] == ["structure.file", "potential.path"]


def test_production_too_short_for_the_analysis_is_refused_before_the_run(tmp_path):
    """Nine averages are not enough for an error bar; the job file says so, not the end of a long run."""
    from hpcthermo.config.nemd import NemdSection

    table = {"source_layers": (3,), "sink_layers": (0,), "temperature_K": 300.0, "temperature_difference_K": 60.0,
             "timestep_fs": 1.0, "sample_interval_fs": 10.0, "samples_per_average": 10}
    NemdSection(**table, duration_ps=1.0)
    with pytest.raises(ValueError, match="at least 10 averages"):
        NemdSection(**table, duration_ps=0.99)


def test_a_run_has_no_temperature_beside_its_stages():
    """The stages give temperatures; a key that nothing reads is unknown."""
    job = {"kind": "md", "structure": {"file": "a"}, "potential": "x", "temperature_K": 300,
           "stage": [{"ensemble": "nve", "timestep_fs": 1.0, "steps": 1}]}
    assert [line.split(":")[0] for line in problems(job)] == ["temperature_K"]


def test_replicas_of_a_job_that_has_none_are_refused_with_the_file():
    job = {"kind": "md", "structure": {"file": "a"}, "potential": "x", "execution": {"replicas": 2},
           "stage": [{"ensemble": "nve", "timestep_fs": 1.0, "steps": 1}]}
    assert any("execution.replicas: expected 1" in line for line in problems(job))


def test_a_relaxation_is_in_double_whatever_else_its_execution_table_says():
    """Giving the device must not turn the precision back to that of molecular dynamics."""
    from hpcthermo.config import parse_job

    job = {"kind": "minimize", "potential": "tersoff_graphene", "execution": {"device": "cpu"},
           "structure": {"builder": "layered_stack", "spacing_A": 3.4,
                         "layers": [{"material": "graphene", "count": 2, "repeat": [2, 2]}]}}
    assert parse_job(job).execution.precision == "double"
    job["execution"]["precision"] = "mixed"
    assert parse_job(job).execution.precision == "mixed"
