"""Where a webhook's call goes: names, addresses, redirects, proxies and certificates, over real sockets."""

import datetime as dt
import json
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raysvc.domain.admission import Deny
from raysvc.policies.call import Call, Unheard, post, trust

from .peer import answer, ask, serving


async def test_a_port_where_nobody_listens_is_an_error_too(tmp_path: Path) -> None:
    async with serving(answer(b"")) as server:
        pass
    [verdict] = await ask(tmp_path, server.url)
    assert isinstance(verdict, Deny)
    assert "the call failed (ConnectError" in verdict.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_private_address_is_not_followed(tmp_path: Path, status: int) -> None:
    async with serving(answer({"verdict": "allow"})) as inner:
        async with serving(answer(b"", f"{status} Moved", f"Location: {inner.url}\r\n")) as server:
            [verdict] = await ask(tmp_path, server.url)
        assert isinstance(verdict, Deny)
        assert f"answered with status {status}" in verdict.message
        assert inner.requests == []


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("localhost", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f.1", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("169.254.169.254", "metadata"),
        ("10.0.0.1", "private"),
    ],
)
async def test_a_private_address_is_refused_however_it_is_written(tmp_path: Path, host: str, kind: str) -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        [verdict] = await ask(tmp_path, f"https://{host}:{server.port}/", allow_private=False)
        assert isinstance(verdict, Deny)
        assert "is at an address that is not public" in verdict.message
        assert kind in verdict.message
        assert server.requests == []


def call(
    url: str, addresses: Sequence[Sequence[str]], *, allow_private: bool, ca: Path | None = None
) -> tuple[Call, list[str]]:
    """Return a call whose names resolve to these answers, one after another, and the list of names asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        assert port
        asked.append(host)
        return addresses[len(asked) - 1]

    return Call(url, 2, allow_private=allow_private, tls=trust(ca), resolve=resolve), asked


async def test_the_name_is_resolved_once_and_the_call_goes_where_the_check_looked() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        # A DNS that answers otherwise the second time (rebinding) is not asked a second time.
        to, asked = call(
            f"http://hooks.example.test:{server.port}/x", [["127.0.0.1"], ["127.0.0.9"]], allow_private=True
        )
        assert await post(to, b"{}", {}) == json.dumps({"verdict": "allow"}).encode()
    assert asked == ["hooks.example.test"]
    assert server.requests[0][1]["host"] == f"hooks.example.test:{server.port}"


async def test_one_private_address_among_public_ones_is_refused() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        to, _ = call(f"https://hooks.example.test:{server.port}/x", [["8.8.8.8", "127.0.0.1"]], allow_private=False)
        with pytest.raises(Unheard, match="not public"):
            await post(to, b"{}", {})
    assert server.requests == []


async def test_the_next_address_is_tried_where_the_first_does_not_connect() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        to, _ = call(f"http://hooks.example.test:{server.port}/x", [["127.0.0.9", "127.0.0.1"]], allow_private=True)
        await post(to, b"{}", {})
    assert len(server.requests) == 1


async def test_a_name_without_an_address_is_said_to_have_none(tmp_path: Path) -> None:
    to, _ = call("https://hooks.example.test/x", [[]], allow_private=False)
    with pytest.raises(Unheard, match=r"hooks\.example\.test has no address"):
        await post(to, b"{}", {})
    [verdict] = await ask(tmp_path, "https://name.invalid/")
    assert isinstance(verdict, Deny)
    assert "the call failed (gaierror" in verdict.message


async def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(b"", "502 Proxy")) as proxy, serving(answer({"verdict": "allow"})) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await ask(tmp_path, server.url) == []
        assert proxy.requests == []


def certificates(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """Return an authority's file and the server's side of a certificate it made for the host."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(
            name(host), name(host), key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.7"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = folder / "ca.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority, private)
    return authority, server


async def test_the_certificate_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    authority, tls = certificates(tmp_path, "hooks.example.test")
    seen: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with serving(answer({"verdict": "allow"}), tls) as server:

        async def reach(host: str, ca: Path | None) -> bytes:
            to, _ = call(f"https://{host}:{server.port}/", [["127.0.0.1"]], allow_private=True, ca=ca)
            return await post(to, b"{}", {})

        assert await reach("hooks.example.test", authority)
        assert seen == ["hooks.example.test"]
        with pytest.raises(Unheard, match="Hostname mismatch"):
            await reach("other.example.test", authority)
        with pytest.raises(Unheard, match="self-signed certificate"):
            await reach("hooks.example.test", None)
    assert len(server.requests) == 1
