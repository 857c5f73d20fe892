"""Read a job file behind limits, and say all that is wrong with it, one line per error with its TOML path."""

from __future__ import annotations

import difflib
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hpcthermo.config.job import JOB_KINDS, Job, TaskJob
from hpcthermo.config.named_files import missing_files, with_absolute_paths
from hpcthermo.config.structure import StructureJob
from hpcthermo.errors import InputError

#: job files are written by hand; nothing longer is one
MAXIMUM_FILE_BYTES = 256 * 1024
#: tables within tables
MAXIMUM_DEPTH = 12
_LONGEST_SHOWN = 60
_MOST_SHOWN = 20


class JobFileError(InputError):
    """A job file is not usable.

    Attributes
    ----------
    source : str
        Name of the file.
    problems : list of str
        One line per error, each beginning with the TOML path.
    """

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        count = "" if len(problems) == 1 else f"{len(problems)} errors: "
        super().__init__(f"{source}: {count}{' | '.join(problems)}")

    def __reduce__(self) -> tuple[type[JobFileError], tuple[str, list[str]]]:
        return type(self), (self.source, self.problems)  # rank 0 sends it to the others


def load_job(path: Path, retry_failed: bool = False) -> Job | TaskJob:
    """Job of a TOML file.

    Parameters
    ----------
    retry_failed : bool
        Try failed tasks again whatever the file says.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    JobFileError
        If its content is not a job; names every error.
    """
    data = read_job_table(path)
    job = parse_job(_resolved(data, path.parent), str(path))
    _require_files(job, str(path))
    if retry_failed and isinstance(job, TaskJob):
        job = job.model_copy(update={"campaign": job.campaign.model_copy(update={"retry_failed": True})})
    return job


def load_structure(path: Path) -> StructureJob:
    """Structure and seed of a job file of any kind, or of a file with a [structure] table alone.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    JobFileError
        If its structure is not usable; the other tables of a job are not looked at.
    """
    data = _resolved(read_job_table(path), path.parent)
    if _depth(data) > MAXIMUM_DEPTH:
        raise JobFileError(str(path), ["not a job: tables are nested too deeply; see `hpcthermo init`"])
    if "kind" in data:
        data = {name: data[name] for name in StructureJob.model_fields if name in data}
    try:
        job = StructureJob.model_validate(data)
    except ValidationError as error:
        raise JobFileError(str(path), describe_errors(error, data, StructureJob)) from None
    _require_files(job, str(path))
    return job


def read_job_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises
    ------
    InputError
        If the file cannot be read.
    JobFileError
        If it is not TOML.
    """
    text = read_job_text(path)
    try:
        with _ordinary_recursion():
            return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobFileError(str(path), [f"not TOML: {_one_line(str(error))}; correct the syntax there"]) from None
    except RecursionError:
        raise JobFileError(str(path), ["not a job: brackets are nested too deeply; correct the syntax"]) from None
    except ValueError as error:  # integers of thousands of digits
        raise JobFileError(str(path), [f"not TOML: {_one_line(str(error))}; correct the value"]) from None


@contextmanager
def _ordinary_recursion() -> Iterator[None]:
    """Python's own limit, which some libraries raise beyond what the stack bears."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(min(limit, 1000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _resolved(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The table with absolute paths; one that is nested too deeply, which is no job, as it is."""
    return data if _depth(data) > MAXIMUM_DEPTH else with_absolute_paths(data, folder)


def _require_files(job: BaseModel, source: str) -> None:
    missing = missing_files(job.model_dump(mode="json"))
    if missing:
        raise JobFileError(source, [f"{place}: expected a {kind}, got {shown(name)}, which is absent or no {kind}; "
                                    "correct the path" for place, name, kind in missing])


def read_job_text(path: Path) -> str:
    """Text of a job file, without a byte-order mark.

    Raises
    ------
    InputError
        If it is absent, not a regular file, too large or not UTF-8 text.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: expected a job file, got a directory or device; name a TOML file")
        if status.st_size > MAXIMUM_FILE_BYTES:
            raise InputError(
                f"{path}: expected a job file of at most {MAXIMUM_FILE_BYTES} bytes, got {status.st_size}; "
                "name a TOML file, large data belong into files that it names"
            )
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{_short(str(path), 200)}: job file cannot be read ({reason}); check the path") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got another encoding at byte {error.start}; save it as UTF-8"
                         ) from None


def parse_job(data: dict[str, Any], source: str = "job") -> Job | TaskJob:
    """Job of a table read from TOML.

    Raises
    ------
    JobFileError
        Naming every error.
    """
    if _depth(data) > MAXIMUM_DEPTH:
        raise JobFileError(source, ["not a job: tables are nested too deeply; see `hpcthermo init`"])
    kinds = ", ".join(JOB_KINDS)
    if "kind" not in data:
        raise JobFileError(source, [f"kind: required key is missing; add one of {kinds} at the top, for example "
                                    'kind = "nemd"'])
    kind = data["kind"]
    if not isinstance(kind, str) or kind not in JOB_KINDS:
        guess = _guess(kind, list(JOB_KINDS)) if isinstance(kind, str) else ""
        raise JobFileError(source, [f"kind: expected one of {kinds}, got {shown(kind)}{guess}; correct it"])
    try:
        return JOB_KINDS[kind].model_validate(data)
    except ValidationError as error:
        raise JobFileError(source, describe_errors(error, data, JOB_KINDS[kind])) from None


def describe_errors(error: ValidationError, data: dict[str, Any], model: type[BaseModel]) -> list[str]:
    """One line per wrong key: TOML path, what was expected, what came, and the fix."""
    expected: dict[str, list[str]] = {}
    got: dict[str, str] = {}
    unknown: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=True):
        path, value = _toml_path(item["loc"], data, item["type"] == "missing")
        if item["type"] == "extra_forbidden":
            guess = _guess(str(item["loc"][-1]), _known_keys(model, item["loc"][:-1]))
            unknown.setdefault(path, []).append(f"{path}: unknown key{guess}; correct or remove it")
            continue
        if item["type"].startswith("union_tag"):
            tag = str(item.get("ctx", {}).get("discriminator", "")).strip("'")
            path, value = f"{path}.{tag}", value.get(tag) if isinstance(value, dict) else value
        elif item["type"] == "structure_form" and isinstance(value, dict):
            path, value = f"{path}.builder", value.get("builder")
        elif item["type"] == "too_short" and isinstance(value, list) and len(value) >= item["ctx"]["min_length"]:
            continue  # pydantic counts only the members that are right, and has said what is wrong with the others
        text = _expectation(item)
        if text not in expected.setdefault(path, []):
            expected[path].append(text)
        got[path] = "" if item["type"] in _SPEAK_FOR_THEMSELVES else f", got {shown(value)}"
    lines = [text for texts in unknown.values() for text in texts[:1]]
    suggested = " ".join(lines)
    for path, texts in expected.items():
        key = path.rsplit(".", 1)[-1]
        if texts == [_MISSING] and f"did you mean {key}?" in suggested:
            continue
        text = " or ".join([texts[0], *(t.removeprefix("expected ") for t in texts[1:])])
        lines.append(f"{path}: {text}{got[path]}{'' if ';' in text else '; correct it'}")
    if len(lines) > _MOST_SHOWN:
        lines = [*lines[:_MOST_SHOWN], f"and {len(lines) - _MOST_SHOWN} more"]
    return [_short(line, 600) for line in lines]


_WORDS = {"tuple": "a list", "boolean": "true or false", "dictionary": "a table", "string": "text",
          "number": "a number", "integer": "an integer", "a finite a number": "a finite number"}
_MISSING = "required key is missing; add it"
_SPEAK_FOR_THEMSELVES = ("missing", "value_error", "union_tag_not_found")


def _expectation(item: Any) -> str:
    """What pydantic expected, in the words of a job file."""
    kind, context = item["type"], item.get("ctx", {})
    if kind in {"missing", "union_tag_not_found"}:
        more = kind == "missing" and not isinstance(item["loc"][-1], str)
        return "expected a list of more values" if more else _MISSING
    if kind == "union_tag_invalid":
        return f"expected one of {context.get('expected_tags')}"
    if kind == "value_error":
        return _one_line(str(context.get("error", item["msg"])))
    if kind in {"model_type", "model_attributes_type"}:
        return "expected a table"
    if kind in {"too_short", "too_long"}:
        bound = "at least {min_length}" if kind == "too_short" else "at most {max_length}"
        return f"expected a list of {bound.format(**context)} values"
    text = _one_line(item["msg"]).removeprefix("Input should be ").removeprefix("a valid ")
    for pydantic_word, word in _WORDS.items():
        text = text.replace(pydantic_word, word)
    return f"expected {text}"


def _toml_path(location: tuple[Any, ...], data: Any, missing: bool) -> tuple[str, Any]:
    """Path of an error as a user writes it, and the value there; tags of unions are not part of it."""
    path, value = "", data
    for k, part in enumerate(location):
        last = k == len(location) - 1
        if isinstance(part, int) and isinstance(value, list) and part < len(value):
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(part, str) and isinstance(value, dict) and part in value:
            path, value = (f"{path}.{_short(part, 40)}" if path else _short(part, 40)), value[part]
        elif isinstance(part, str) and last and missing:
            path = f"{path}.{part}" if path else part
    return path or "job", value


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys of the table at a location, found in the JSON schema of the model."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    names = [part for part in location if isinstance(part, str)]
    tables = [schema]
    for name in names:
        found = [t["properties"][name] for t in tables if name in t.get("properties", {})]
        if found:
            tables = [definitions[d] for d in _references(found)]
    return sorted({key for table in tables for key in table.get("properties", {})})


def _references(schema: Any) -> set[str]:
    """Names of the definitions that a piece of JSON schema refers to."""
    if isinstance(schema, list):
        return set().union(*[_references(s) for s in schema])
    if isinstance(schema, dict):
        own = {str(schema["$ref"]).rsplit("/", 1)[-1]} if "$ref" in schema else set()
        return own.union(*[_references(s) for k, s in schema.items() if k != "$ref"])
    return set()


def _guess(name: str, known: list[str]) -> str:
    if name in known:
        return " here (it belongs to another form of this table)"
    close = difflib.get_close_matches(_short(name, 80), known, n=1, cutoff=0.7)
    if close:
        return f", did you mean {close[0]}?"
    return f", known are {', '.join(known)}" if 0 < len(known) <= 16 else ""


def shown(value: Any) -> str:
    """A value of a job file as a short piece of one line."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list) and len(value) > 8:
        return f"a list of {len(value)} values"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "an integer beyond 10^18"
    try:
        return _short(_one_line(repr(value)), _LONGEST_SHOWN)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too long to show"


def _depth(value: Any, level: int = 0) -> int:
    """Nesting of tables and lists, not followed beyond the limit."""
    if level > MAXIMUM_DEPTH or not isinstance(value, dict | list):
        return level
    children = value.values() if isinstance(value, dict) else value
    return max((_depth(child, level + 1) for child in children), default=level)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())


def _short(text: str, length: int) -> str:
    text = _one_line(text)
    return text if len(text) <= length else text[: length - 3] + "..."
