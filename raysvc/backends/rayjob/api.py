"""Ray's REST API, as far as a backend needs it. Speaks with the cluster's own token and nobody else's headers."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from raysvc.errors import Invalid, Unavailable

# Ray answers a submit only when its agent has taken it; while a head comes up, that takes up to 10 s
# (WAIT_AVAILABLE_AGENT_TIMEOUT in ray/dashboard/consts.py).
SUBMIT_TIMEOUT_S = 20.0
TIMEOUT_S = 10.0
# The first application starts Serve's controller: some 6 s on an idle machine.
SERVE_TIMEOUT_S = 90.0
# A package of 100 MiB through a dashboard on a busy machine.
UPLOAD_TIMEOUT_S = 120.0
_CHUNK = 1 << 18
# KubeRay's operator depends on this phrase too.
_DUPLICATE = "Please use a different submission_id"
_NO_FILE = "A file is not found"
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception): ", re.MULTILINE)


@dataclass(frozen=True)
class Door:
    """A Kubernetes API server before Ray: it asks who comes, by `authorization`, and lets Ray's own header pass."""

    auth: httpx.Auth
    tls: ssl.SSLContext


class RayApi:
    """One cluster's dashboard. Every method raises Unavailable where it does not answer or answers with nonsense."""

    def __init__(self, url: str, token: str | None, door: Door | None = None) -> None:
        self.url = url.rstrip("/")
        self._door = door
        header = "x-ray-authorization" if door else "authorization"
        self.headers = {header: f"Bearer {token}"} if token else {}
        # No proxies of the environment: the token must not pass through one.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=self.headers,
            timeout=TIMEOUT_S,
            trust_env=False,
            auth=door.auth if door else None,
            verify=door.tls if door else True,
        )

    async def close(self) -> None:
        """Let go of the cluster; a call in progress and any later one raises Unavailable."""
        await self._http.aclose()

    async def version(self) -> dict[str, Any]:
        """Return `ray_version`, `session_name` and more."""
        return self._object(await self._call("GET", "/api/version"))

    async def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that live, each with `node_id`, `is_head_node` and `resources_total`."""
        answer = self._object(await self._call("GET", "/api/v0/nodes", params={"detail": "1", "limit": "10000"}))
        rows = self._within(answer, "data", "result", "result")
        return [row for row in rows if row.get("state") == "ALIVE"]

    async def summary(self) -> dict[str, Any]:
        """Return `summary` (measurements per node) and `nodeLogicalResources` (what is in use, as text per node)."""
        answer = self._object(await self._call("GET", "/nodes", params={"view": "summary"}))
        found = self._within(answer, "data")
        return found if isinstance(found, dict) else {}

    async def jobs(self) -> list[dict[str, Any]]:
        """Return the records of all jobs, those that Ray's clients submitted and bare drivers."""
        response = await self._call("GET", "/api/jobs/")
        found = self._json(response)
        return found if isinstance(found, list) else []

    async def job(self, submission_id: str) -> dict[str, Any] | None:
        """Return the record of a job; None where the cluster answers that it has none."""
        response = await self._call("GET", f"/api/jobs/{submission_id}", accept=(404,))
        return None if response.status_code == httpx.codes.NOT_FOUND else self._object(response)

    async def submit(self, body: dict[str, Any]) -> None:
        """Hand over a job. A submission_id that Ray knows already counts as success. Raises Invalid."""
        response = await self._call("POST", "/api/jobs/", accept=(400, 500), json=body, timeout=SUBMIT_TIMEOUT_S)
        if response.is_success or _DUPLICATE in response.text:
            return
        # What Ray's agent refuses as wrong, its head passes on as a 500 that quotes the agent's 400.
        if response.status_code == httpx.codes.BAD_REQUEST or "status code 400" in response.text:
            raise Invalid(f"Ray refused the job: {said(response.text)}")
        raise Unavailable(f"Ray could not take the job: {said(response.text)}")

    async def stop(self, submission_id: str) -> None:
        """Ask a job to end. Unknown counts as success."""
        await self._call("POST", f"/api/jobs/{submission_id}/stop", accept=(404,))

    async def delete(self, submission_id: str) -> None:
        """Remove the record of a job that has ended. Unknown counts as success."""
        await self._call("DELETE", f"/api/jobs/{submission_id}", accept=(404,))

    async def has_package(self, name: str) -> bool:
        """Tell whether the cluster holds an uploaded package; keeps it from being collected for the next 10 minutes."""
        response = await self._call("GET", f"/api/packages/gcs/{name}", accept=(404,))
        return response.is_success

    async def put_package(self, name: str, file: Path) -> None:
        """Upload a package, at most 100 MiB."""
        size = {"content-length": str((await asyncio.to_thread(file.stat)).st_size)}
        path = f"/api/packages/gcs/{name}"
        await self._call("PUT", path, content=_chunks(file), headers=size, timeout=UPLOAD_TIMEOUT_S)

    async def applications(self) -> dict[str, dict[str, Any]]:
        """Return Ray Serve's applications by name: `status`, `message`, `deployed_app_config`, `deployments`."""
        answer = self._object(await self._call("GET", "/api/serve/applications/"))
        found = answer.get("applications")
        return found if isinstance(found, dict) else {}

    async def deploy(self, body: dict[str, Any]) -> None:
        """Make these all the applications that are declared to Ray Serve. Raises Invalid."""
        response = await self._call(
            "PUT", "/api/serve/applications/", accept=(400,), json=body, timeout=SERVE_TIMEOUT_S
        )
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise Invalid(f"Ray Serve refused the service: {said(response.text)}")

    async def log_file(self, node_id: str, name: str) -> AsyncGenerator[bytes, None]:
        """Yield a file of a node's log folder, from its beginning; nothing where there is none."""
        query = {"node_id": node_id, "filename": name, "lines": "-1", "timeout": "30"}
        self._require_open()
        try:
            async with self._http.stream("GET", "/api/v0/logs/file", params=query) as response:
                await self._require_still_open(response)
                if response.is_success:
                    async for chunk in response.aiter_bytes(_CHUNK):
                        yield chunk
                elif _NO_FILE not in (await response.aread()).decode(errors="replace"):
                    raise Unavailable(f"Ray at {self.url} answered {response.status_code} for the log {name}.")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def _call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **rest: Any) -> httpx.Response:
        self._require_open()
        try:
            response = await self._http.request(method, path, **rest)
            await self._require_still_open(response)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if response.is_success or (response.status_code in accept and not self._turned_away(response)):
            return response
        if response.status_code in {401, 403}:
            raise Unavailable(f"Ray at {self.url} refuses our token ({response.status_code}). See --ray-token-file.")
        raise Unavailable(
            f"Ray at {self.url} answered {response.status_code} to {method} {path}: {said(response.text)}"
        )

    def _turned_away(self, response: httpx.Response) -> bool:
        """Tell whether the door answered, and not Ray: its 404 says that the cluster is gone, and nothing of a job."""
        return self._door is not None and '"kind":"Status"' in response.text.replace(" ", "")

    def _require_open(self) -> None:
        # Who took the session before its head died may come to use it after it was let go.
        if self._http.is_closed:
            raise Unavailable(f"The session with Ray at {self.url} has ended.")

    async def _require_still_open(self, response: httpx.Response) -> None:
        # httpx forgets a connection that was still being made when the client was closed.
        if self._http.is_closed and (stream := response.extensions.get("network_stream")) is not None:
            await stream.aclose()
        self._require_open()

    def _unreachable(self, error: httpx.HTTPError) -> Unavailable:
        return Unavailable(f"Ray at {self.url} does not answer ({type(error).__name__}).")

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise Unavailable(f"What answers at {self.url} is not Ray: it sent no JSON.") from error

    def _object(self, response: httpx.Response) -> dict[str, Any]:
        found = self._json(response)
        if not isinstance(found, dict):
            raise Unavailable(f"What answers at {self.url} is not Ray: it sent a {type(found).__name__}.")
        return found

    def _within(self, answer: dict[str, Any], *path: str) -> Any:
        found: Any = answer
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            raise Unavailable(f"Ray at {self.url} left out {'.'.join(path)}: {answer.get('msg', '')}")
        return found


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


def said(text: str) -> str:
    """Return what a reply of Ray's has to say: of a traceback, as most of its errors are, the exception's own words."""
    *_, last = _EXCEPTION.split(text)
    return last.strip().removesuffix("\n.").strip()[:2000] or "(nothing)"
