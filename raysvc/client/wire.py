"""HTTP towards the API: the token, timeouts, retries of what is safe to repeat, and errors as raysvc's own."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from raysvc.client.discovery import Server
from raysvc.client.problem import error_of
from raysvc.errors import Unavailable
from raysvc.settings import is_loopback
from raysvc.version import __version__

M = TypeVar("M", bound=BaseModel)

# Seconds. Reads wait longer than a stream's ping (15 s) and than any answer the API takes its time for.
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# A server that restarts is back within about 2 s: waits of 0.2, 0.6 and 1.8 s bridge it.
_WAITS_S = (0.2, 0.6, 1.8)
_PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@dataclass(frozen=True)
class Call:
    """One request of the API, before it is sent: what `--dry-run` shows. `safe`: may be sent twice."""

    method: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    safe: bool = False

    @property
    def repeatable(self) -> bool:
        return self.safe or self.method == "GET"


class Wire:
    """Sends calls. Not for use by several threads at once."""

    def __init__(
        self,
        server: Server,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.server = server
        self.sleep = sleep
        headers = {"User-Agent": f"raysvc/{__version__}"}
        if server.token:
            headers["Authorization"] = f"Bearer {server.token}"
        self._http = httpx.Client(
            base_url=server.url,
            headers=headers,
            timeout=TIMEOUT,
            transport=transport,
            # A proxy of the environment has no business with a server of this machine, nor with its token.
            trust_env=not is_loopback(urlsplit(server.url).hostname or ""),
        )

    def close(self) -> None:
        self._http.close()

    def send(self, call: Call, content: Any = None) -> httpx.Response:
        """Send the call and return its reply, read.

        Tries again, where the call may be repeated, when the connection breaks or the server is passing away. Raises
        Unavailable where it does not answer, and the server's own error where it refuses. `content`, where given, is a
        body that can be iterated anew for each try.
        """
        for wait in (*_WAITS_S, None):
            try:
                response = self._http.send(self._request(call, content))
            except httpx.TransportError as error:
                if wait is None or not call.repeatable:
                    raise self._unreachable(error) from error
            else:
                if response.is_success:
                    return response
                if wait is None or not call.repeatable or response.status_code not in _PASSING:
                    raise error_of(response)
            self.sleep(wait)
        raise AssertionError  # the last wait is None

    def rehearse(self, call: Call) -> httpx.Response:
        """Send the call as a dry run: the server checks it, and keeps and does nothing."""
        rehearsal = Call(call.method, call.path, {**call.params, "dry_run": "true"}, call.json, call.headers, safe=True)
        return self.send(rehearsal)

    @contextmanager
    def stream(self, call: Call) -> Iterator[httpx.Response]:
        """Send the call and yield its reply before its body is read. Not tried again; a break raises Unavailable."""
        try:
            response = self._http.send(self._request(call, None), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise error_of(response)
                yield response
            finally:
                response.close()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _request(self, call: Call, content: Any) -> httpx.Request:
        params = {name: value for name, value in call.params.items() if value is not None}
        return self._http.build_request(
            call.method, call.path, params=params, json=call.json, content=content, headers=call.headers
        )

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Unavailable(
                f"The server at {self.server.url} cannot be reached: {error}. `raysvc doctor` looks closer."
            )
        said = str(error) or type(error).__name__
        return Unavailable(f"The server at {self.server.url} broke off: {said}. Try again.")


def read(model: type[M], response: httpx.Response, *, at: str | None = None) -> M:
    """Return the reply's body, or what it has under the key `at`, as that model.

    Fields a newer server added are left out. Raises Unavailable where the body is something else altogether.
    """
    return parse(model, body_of(response, at))


def read_items(model: type[M], response: httpx.Response) -> list[M]:
    """Return the reply's `items` as that model; raises as `read`."""
    return [parse(model, item) for item in body_of(response, "items")]


def parse(model: type[M], data: Any) -> M:
    """Return plain JSON from the server as that model; raises as `read`."""
    try:
        return model.model_validate(data, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Unavailable(
            f"The server's {model.__name__} is not understood by this client ({place}: {first['msg']}). "
            "Is one of the two much older than the other?"
        ) from error


def body_of(response: httpx.Response, at: str | None = None) -> Any:
    """Return the reply's JSON, or what it has under the key `at`; raises Unavailable for anything else."""
    try:
        body = response.json()
        return body if at is None else body[at]
    except (ValueError, KeyError, TypeError) as error:
        url = response.url.copy_with(path="/", query=None)
        raise Unavailable(f"What answers at {url} is not raysvc's API. Check RAYSVC_URL.") from error


def path_part(text: str) -> str:
    """Return a name as one segment of a path, whatever it holds."""
    return quote(text, safe="")
