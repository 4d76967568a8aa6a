"""schemathesis over every operation of the OpenAPI document, against both origins' real server on SQLite.

It proves that no request, of the announced form or not, makes the server fail inside or answer with a status, a media
type, a header or a body that the document does not announce. The examples are the same in each run.

    RAYSVC_FUZZ=2000 pytest tests/isolation/test_openapi.py

runs that many examples an operation and way, new ones each time; hypothesis prints a failing one, and its seed.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from structlog.typing import EventDict

from raysvc.api.ray.caller import PROJECT_HEADER
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from tests.isolation.place import INSIDE, Names, Place
from tests.isolation.serving import serving

EXAMPLES = int(os.environ.get("RAYSVC_FUZZ", "6"))
CHECKED = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Ray's own server says 500 where another would say 409, and its clients and KubeRay's operator wait for it.
RAYS_500 = ("already exists", "non-terminal state")


class Fuzzer:
    """Sends what the document allows, and what it does not, half of it about things that are there."""

    def __init__(self, url: str, document: dict[str, Any], headers: dict[str, str], names: Names) -> None:
        load_all_checks()
        self._schema = schemathesis.openapi.from_dict(document)
        self._schema.config.update(base_url=url)
        self._checks: list[Any] = [CHECKS.get_one(name) for name in CHECKED]
        self._headers = headers
        self._names = names
        self.statuses: Counter[int] = Counter()

    def run(self) -> int:
        """Return the number of operations; raises at the first answer that is not as announced."""
        count = 0
        for found in self._schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._run(operation, mode)
            count += 1
        return count

    def _run(self, operation: Any, mode: GenerationMode) -> None:
        sent = 0

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            derandomize="RAYSVC_FUZZ" not in os.environ,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        def each(case: Case[Any]) -> None:
            nonlocal sent
            sent += 1
            if sent % 2:
                self._name(case)
            self._check(case, case.call(headers=self._headers, timeout=60))

        try:
            each()
        except Unsatisfiable:
            # Without a parameter and a body there is nothing to get wrong.
            assert mode is GenerationMode.NEGATIVE
            assert not operation.definition.raw.get("parameters")
            assert "requestBody" not in operation.definition.raw

    def _check(self, case: Case[Any], reply: Response) -> None:
        self.statuses[reply.status_code] += 1
        if reply.status_code >= 500:
            assert case.path.startswith("/api/"), reply.text
            assert any(words in reply.text for words in RAYS_500), reply.text
        case.validate_response(reply, checks=self._checks)

    def _name(self, case: Case[Any]) -> None:
        """Let the path name what is there."""
        for parameter in list(case.path_parameters or {}):
            case.path_parameters[parameter] = self._value(case.path, parameter)

    def _value(self, path: str, parameter: str) -> str:
        names = self._names
        if parameter == "name":
            kinds = {
                "secrets": names.secret,
                "clusters": names.shared,
                "projects": names.project,
                "pools": names.pool,
                "services": names.service,
            }
            return next((name for kind, name in kinds.items() if f"/{kind}/" in path), names.package)
        ours = {"job_id": names.uid if path.startswith("/v1/") else names.job_id, "token_id": names.token_id}
        ours |= {"node": names.node, "key_id": names.key}
        return {**ours, "path": "f", "protocol": "gcs"}[parameter]


@pytest.mark.timeout(0)  # a long run is asked for
async def test_every_answer_is_announced(tmp_path: Path, lines: list[EventDict]) -> None:
    place = Place(tmp_path, SqlStore(f"sqlite:///{tmp_path}/raysvc.db", FakeClock()))
    await place.open()
    await place.settle()
    # Ray's API has no parameter for the project, so a header names it.
    headers = {**await place.bearer(), PROJECT_HEADER: INSIDE}
    names = await place.names(ended=True)
    async with serving(place) as served:
        fuzzer = Fuzzer(served.url, place.front.openapi(), headers, names)
        operations = await asyncio.to_thread(fuzzer.run)
    await place.store.close()
    assert operations == sum(map(len, place.front.openapi()["paths"].values()))
    assert fuzzer.statuses.keys() >= {200, 201, 204, 400, 401, 404}, "what is sent must reach past the edge"
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]
