"""JSON schema of job files, for completion and checks in editors."""

from __future__ import annotations

import json
from typing import Annotated, Any, Union

from pydantic import Field, TypeAdapter

from hpcthermo.config.job import JOB_KINDS


def job_schema() -> dict[str, Any]:
    """The schema as a dictionary."""
    kinds: Any = Union[tuple(JOB_KINDS.values())]  # noqa: UP007
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kinds, Field(discriminator="kind")])
    schema = adapter.json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "hpcthermo job", **schema}


def schema_text() -> str:
    """The schema as the text of ``docs/job.schema.json``."""
    return json.dumps(job_schema(), indent=1, sort_keys=True) + "\n"
