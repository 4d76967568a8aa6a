"""Byte ranges over HTTP from hosts that users name: checked addresses, few redirects, limits of bytes and time."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Self

import httpx

from raysvc.domain.address import forbidden
from raysvc.errors import Invalid, Unavailable

_MOST_HOPS = 5
_TRIES = 3
_WAIT_S = 0.5  # before the second try; twice as long before the third
_AGAIN = frozenset({429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_FIELD = "model"

Resolve = Callable[[str, int], Sequence[str]]
Headers = Callable[[str], Mapping[str, str]]
"""What goes with a request to a URL: credentials, where that host is to have any."""


@dataclass(frozen=True)
class Ask:
    """Up to `length` bytes from `offset` of what is at a URL. `absent`: the statuses that say it is not there."""

    url: str
    length: int
    offset: int = 0
    headers: Headers | None = None
    absent: frozenset[int] = frozenset({404})


class Slice(NamedTuple):
    """Bytes of a file, and the file's size where the server told it."""

    data: bytes
    total: int | None


@dataclass(frozen=True)
class Limits:
    """Of all that one Fetcher does: bytes read, and seconds from its first request."""

    nbytes: int = 256 << 20
    seconds: float = 120.0
    timeout_s: float = 15.0


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the host's addresses, the preferred one first."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """GETs for one question. Blocks; several threads may use it. Close it, or use it as a context manager.

    `trusted` are `host:port` that the operator named: they may be private and speak plain HTTP. All others speak
    HTTPS and are at public addresses, redirects included, unless `allow_private`. A name is resolved once, and
    connections go to what was checked. Raises Invalid for what will not get better, Unavailable for the rest.
    """

    def __init__(
        self,
        *,
        trusted: frozenset[str] = frozenset(),
        allow_private: bool = False,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve = resolve,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._trusted = trusted
        self._allow_private = allow_private
        self._limits = limits = limits or Limits()
        self._tls = tls
        self._resolve = resolve
        self._sleep = sleep
        self._clients: dict[str, tuple[httpx.Client, Sequence[str]]] = {}
        self._lock = Lock()
        self._left = limits.nbytes
        self._until: float | None = None

    def get(self, ask: Ask) -> Slice | None:
        """Return what is asked for, fewer bytes only at the file's end; None where there is no such file."""
        for attempt in range(_TRIES):
            try:
                return self._follow(ask)
            except Unavailable:
                if attempt == _TRIES - 1:
                    raise
            self._sleep(_WAIT_S * 2**attempt)
        raise AssertionError

    def close(self) -> None:
        """Close the connections. May be repeated."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client, _ in clients.values():
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, ask: Ask) -> Slice | None:
        target = first = httpx.URL(ask.url)
        for _ in range(_MOST_HOPS):
            self._count(target.host, 0)
            same = (target.scheme, target.host, target.port) == (first.scheme, first.host, first.port)
            sent = dict(ask.headers(str(target))) if ask.headers is not None and same else {}
            sent["Range"] = f"bytes={ask.offset}-{ask.offset + ask.length - 1}"
            response = self._send(target, sent)
            try:
                if response.status_code in _REDIRECTS:
                    target = self._next(target, response)
                    continue
                return None if response.status_code in ask.absent else self._slice(target.host, response, ask)
            except httpx.HTTPError as error:
                raise Unavailable(f"{target.host} broke off: {str(error) or type(error).__name__}.") from error
            finally:
                response.close()
        raise Invalid(f"{first.host} redirects more than {_MOST_HOPS} times.", field=_FIELD)

    def _next(self, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        try:
            return url.join(response.headers["location"])
        except (KeyError, httpx.InvalidURL) as error:
            raise Invalid(f"{url.host} answers with a redirect that leads nowhere.", field=_FIELD) from error

    def _send(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        client, addresses = self._client(url)
        host = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        refused: httpx.TransportError | None = None
        for address in addresses:
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers={**headers, **host},
                # The name goes into Host and TLS, and is what the certificate is checked against.
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            try:
                return client.send(request, stream=True, follow_redirects=False)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                refused = error
            except httpx.HTTPError as error:
                raise Unavailable(f"{url.host} does not answer: {str(error) or type(error).__name__}.") from error
        why = f"cannot be reached: {refused}" if refused is not None else "has no address"
        raise Unavailable(f"{url.host} {why}.") from refused

    def _client(self, url: httpx.URL) -> tuple[httpx.Client, Sequence[str]]:
        """Return a host's connections and where they lead; a client a host, so that TLS is checked for it."""
        place = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
        if url.scheme != "https" and not (url.scheme == "http" and place in self._trusted):
            raise Invalid(f"{place}: models are fetched over https alone, not {url.scheme}.", field=_FIELD)
        with self._lock:
            key = f"{url.scheme}://{place}"
            if key not in self._clients:
                addresses = self._addresses(url, place)
                self._clients[key] = (self._connect(), addresses)
            return self._clients[key]

    def _connect(self) -> httpx.Client:
        return httpx.Client(verify=self._tls or True, trust_env=False, timeout=self._limits.timeout_s)

    def _addresses(self, url: httpx.URL, place: str) -> Sequence[str]:
        host, port = url.raw_host.decode("ascii"), int(place.rpartition(":")[2])
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"There is no host {host!r}: {getattr(error, 'strerror', None) or error}.") from error
        if place in self._trusted or self._allow_private:
            return addresses
        for address in addresses:
            kind = forbidden(address)
            if kind is not None:
                raise Invalid(
                    f"{host} is at an address that is not public ({kind}); models are not fetched from there. "
                    "On your own machine, --allow-private allows it.",
                    field=_FIELD,
                )
        return addresses

    def _slice(self, host: str, response: httpx.Response, ask: Ask) -> Slice:
        status = response.status_code
        if status in _AGAIN:
            raise Unavailable(f"{host} answers with status {status}. Try again later.")
        if status not in {200, 206, 416}:
            raise Invalid(f"{host} answers with status {status}: {_advice(status)}.", field=_FIELD)
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Invalid(f"{host} compresses what was asked for as it is.", field=_FIELD)
        first, total = _span(host, response, ask.offset)
        if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return Slice(b"", total)
        data = self._read(host, response, skip=ask.offset - first, length=ask.length)
        expected = 0 if total is None else max(0, min(ask.length, total - ask.offset))
        if len(data) < expected:
            raise Unavailable(f"{host} sent {len(data)} bytes of {expected} and ended.")
        return Slice(data, total)

    def _read(self, host: str, response: httpx.Response, *, skip: int, length: int) -> bytes:
        """Return `length` bytes after the first `skip`; what comes after is left in the connection, which is closed."""
        data = bytearray()
        for chunk in response.iter_raw():
            self._count(host, len(chunk))
            data += chunk
            if len(data) >= skip + length:
                break
        return bytes(data[skip : skip + length])

    def _count(self, host: str, nbytes: int) -> None:
        with self._lock:
            self._left -= nbytes
            now = time.monotonic()
            self._until = self._until or now + self._limits.seconds
            if self._left < 0:
                raise Invalid(
                    f"{host} has sent more than {self._limits.nbytes >> 20} MiB; a config and headers are less.",
                    field=_FIELD,
                )
            if now > self._until:
                raise Invalid(f"{host} was not done after {self._limits.seconds:g} s.", field=_FIELD)


def _span(host: str, response: httpx.Response, offset: int) -> tuple[int, int | None]:
    """Return where the body begins in the file, and the file's size. Raises Invalid where it is not what was asked."""
    if response.status_code == httpx.codes.OK:  # a server that knows no ranges: the whole file
        size = response.headers.get("content-length", "")
        return 0, int(size) if size.isdigit() else None
    match = _RANGE.fullmatch(response.headers.get("content-range", ""))
    partial = response.status_code == httpx.codes.PARTIAL_CONTENT
    if match is None or (partial and (match[1] is None or int(match[1]) != offset)):
        raise Invalid(f"{host} answers with other bytes than were asked for.", field=_FIELD)
    return offset, int(match[3]) if match[3] != "*" else None


def _advice(status: int) -> str:
    if status in {401, 403}:
        return (
            "the model is not there, or wants an account that may read it (HF_TOKEN, or AWS keys, of the environment)"
        )
    return "that is no place of a model"
