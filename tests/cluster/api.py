"""The API server as the cluster's own start asks it: what `kubectl apply` does not do."""

import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tests.cluster.failure import ClusterError
from tests.cluster.plan import Plan

_ANSWER_S = 10.0


class Api:
    """A client with an administrator's rights. A context manager."""

    def __init__(self, plan: Plan) -> None:
        context = ssl.create_default_context(cafile=plan.pki / "ca.crt")
        context.load_cert_chain(plan.pki / "admin.crt", plan.pki / "admin.key")
        self._client = httpx.Client(base_url=plan.api_url, verify=context, timeout=_ANSWER_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        """Return the object, or None where there is none."""
        answer = self._ask("GET", path)
        return None if answer.status_code == httpx.codes.NOT_FOUND else self._content(answer)

    def post(self, path: str, created: Mapping[str, Any]) -> Any:
        return self._content(self._ask("POST", path, json=created))

    def patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Any:
        """Apply a JSON patch."""
        headers = {"Content-Type": "application/json-patch+json"}
        return self._content(self._ask("PATCH", path, json=operations, headers=headers))

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **content)
        except httpx.TransportError as error:
            raise ClusterError(f"the API server does not answer {method} {path}: {error}") from error

    def _content(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise ClusterError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")
        return answer.json()
