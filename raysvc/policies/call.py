"""One HTTP POST to a place that a file names: to the address that was checked, once, within a time and a size."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from raysvc.domain.address import forbidden
from raysvc.errors import Invalid

MAX_REPLY = 1 << 20
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Unheard(Exception):
    """There is no answer to believe; the text says why, without the URL's path or query."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the host's addresses, the preferred one first."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Call:
    """Where to, for how long, and whom to trust."""

    url: str
    timeout_s: float
    allow_private: bool
    tls: ssl.SSLContext
    resolve: Resolve = resolve


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts the file's authorities, or the usual ones; raises Invalid."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise Invalid(f"ca_file {ca_file} cannot be used: {error.strerror or error}.", field="ca_file") from error


async def post(call: Call, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body of the 200 reply; raises Unheard for anything else.

    The name is resolved once and the connection goes to an address that was checked, so that a second answer of the
    DNS cannot lead elsewhere. Redirects and proxies are not followed.
    """
    try:
        async with asyncio.timeout(call.timeout_s):
            return await _post(call, body, headers)
    except TimeoutError as error:
        raise Unheard(f"it did not answer within {call.timeout_s:g} s") from error
    except (httpx.HTTPError, OSError, UnicodeError) as error:
        raise Unheard(f"the call failed ({type(error).__name__}: {error})") from error


async def _post(call: Call, body: bytes, headers: Mapping[str, str]) -> bytes:
    url = httpx.URL(call.url)
    host = url.raw_host.decode("ascii")
    port = url.port or (443 if url.scheme == "https" else 80)
    addresses = await call.resolve(host, port)
    if not call.allow_private:
        for address in addresses:
            kind = forbidden(address)
            if kind is not None:
                raise Unheard(f"{host} is at an address that is not public ({kind}), and allow_private is not set")
    sent = {**headers, "Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
    async with httpx.AsyncClient(verify=call.tls, trust_env=False, timeout=call.timeout_s) as client:
        refused: httpx.ConnectError | None = None
        for address in addresses:
            # The name goes into Host and TLS, and is what the certificate is checked against.
            request = client.build_request(
                "POST",
                url.copy_with(host=address),
                content=body,
                headers=sent,
                extensions={"sni_hostname": host},
            )
            try:
                return await _reply(client, request)
            except httpx.ConnectError as error:
                refused = error
        raise refused or Unheard(f"{host} has no address")


async def _reply(client: httpx.AsyncClient, request: httpx.Request) -> bytes:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        if response.status_code != httpx.codes.OK:
            raise Unheard(f"it answered with status {response.status_code}")
        reply = bytearray()
        # Raw: a compressed reply could unfold to any size, and was not asked for.
        async for chunk in response.aiter_raw():
            reply += chunk
            if len(reply) > MAX_REPLY:
                raise Unheard(f"its reply is larger than {MAX_REPLY >> 20} MiB")
        return bytes(reply)
    finally:
        await response.aclose()
