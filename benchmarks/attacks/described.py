r"""schemathesis against our own OpenAPI description: requests that it allows and requests that it forbids.

Every answer has to have a status, a media type and a shape that the description promises, and never be 500.
Requests go to the application itself, in this process.
"""

__all__ = ["described"]

import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from fuzzing import CRASH
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from inside import Site
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 1000  # of each operation and mode


def described(folder: Path, share: float) -> dict[str, Any]:
    """How many requests had which status, and what was answered otherwise than described."""
    logging.getLogger("relume.service").setLevel(logging.ERROR)
    counts: Counter[int] = Counter()
    wrong: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as parent:
        site = Site(Path(parent), max_pixels=100_000, max_bytes=1 << 20)
        schema = schemathesis.openapi.from_asgi(
            "/api/v1/openapi.json", site.app, headers={"host": "localhost"}
        )
        operations = [found.ok() for found in schema.get_all_operations()]
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                _try(operation, mode, max(5, round(EXAMPLES * share)), counts, wrong)
        site.close()
    return {
        "operations": len(operations),
        "tried": sum(counts.values()),
        "statuses": dict(counts),
        "wrong": wrong,
    }


def _try(operation: Any, mode: Any, examples: int, counts: Counter[int], wrong: dict[str, str]) -> None:
    @seeded(0)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        try:
            answer = case.call(headers={"host": "localhost"})
            counts[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)
        except (Exception, BaseExceptionGroup) as error:
            name = f"{operation.label} {mode.value}: {type(error).__name__}"
            wrong.setdefault(name, f"{error}"[:2000])
            counts[CRASH] += not isinstance(error, AssertionError | BaseExceptionGroup)

    try:
        ask()
    except Exception as error:  # a mode that the operation has no requests of
        print(f"{operation.label} {mode.value}: {type(error).__name__}", file=sys.stderr)
