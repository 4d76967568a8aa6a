"""Where a fetch may go: addresses are checked once, and the connection goes where the check looked."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from raysvc.errors import Invalid, Unavailable
from raysvc.policies.call import trust
from raysvc.sources.fetch import Ask, Fetcher, Slice
from tests.unit.policies.test_webhook_address import certificates
from tests.unit.sources.mirror import serving

NAME = "models.example.test"


def resolving(*answers: Sequence[str]) -> tuple[Callable[[str, int], Sequence[str]], list[str]]:
    """Return a resolver that gives these answers, one after another, and the list of names asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        assert port
        asked.append(host)
        return answers[len(asked) - 1]

    return resolve, asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(b"0123456789")
    return tmp_path


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
)
def test_a_private_address_is_refused_before_a_connection(address: str) -> None:
    resolve, _ = resolving([address])
    with Fetcher(resolve=resolve) as fetcher, pytest.raises(Invalid, match="not public"):
        fetcher.get(Ask(f"https://{NAME}/f", 1))


def test_one_private_address_among_public_ones_is_refused() -> None:
    resolve, _ = resolving(["8.8.8.8", "10.0.0.1"])
    with Fetcher(resolve=resolve) as fetcher, pytest.raises(Invalid, match="not public"):
        fetcher.get(Ask(f"https://{NAME}/f", 1))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_private_address_is_refused_however_it_is_written(host: str) -> None:
    with Fetcher() as fetcher, pytest.raises(Invalid, match="not public"):
        fetcher.get(Ask(f"https://{host}:1/f", 1))


def test_a_name_is_resolved_once_and_the_next_address_is_tried(folder: Path) -> None:
    with serving(folder) as mirror:
        # A DNS that answers otherwise the second time (rebinding) is not asked a second time.
        resolve, asked = resolving(["127.0.0.9", "127.0.0.1"], ["127.0.0.8"])
        place = f"{NAME}:{mirror.server_port}"
        with Fetcher(trusted=frozenset({place}), resolve=resolve, sleep=lambda _: None) as fetcher:
            for offset in range(3):
                ask = Ask(f"http://{place}/f", 2, offset)
                assert fetcher.get(ask) == Slice(b"0123456789"[offset : offset + 2], 10)
        assert asked == [NAME]
        assert mirror.asked[0][1]["host"] == place


def test_what_is_trusted_is_one_port_of_one_host(folder: Path) -> None:
    with serving(folder) as mirror, Fetcher(trusted=frozenset({f"127.0.0.1:{mirror.server_port + 1}"})) as fetcher:
        for scheme, said in (("http", "https alone"), ("https", "not public")):
            with pytest.raises(Invalid, match=said):
                fetcher.get(Ask(f"{scheme}://{mirror.place}/f", 1))
        assert mirror.asked == []


def test_the_certificate_is_checked_against_the_name_not_the_address(folder: Path) -> None:
    authority, tls = certificates(folder, NAME)
    with serving(folder, tls=tls) as mirror:
        for host, known in ((NAME, True), ("other.example.test", False)):
            resolve, _ = resolving(*[["127.0.0.1"]] * 3)
            with Fetcher(allow_private=True, tls=trust(authority), resolve=resolve, sleep=lambda _: None) as fetcher:
                ask = Ask(f"https://{host}:{mirror.server_port}/f", 4)
                if known:
                    assert fetcher.get(ask) == Slice(b"0123", 10)
                else:
                    with pytest.raises(Unavailable, match=r"(?i)certificate|hostname"):
                        fetcher.get(ask)


def test_a_name_without_an_address_and_a_name_that_is_none_are_said() -> None:
    resolve, _ = resolving([], [], [])
    with Fetcher(resolve=resolve, sleep=lambda _: None) as fetcher, pytest.raises(Unavailable, match="has no address"):
        fetcher.get(Ask(f"https://{NAME}/f", 1))
    with Fetcher(sleep=lambda _: None) as fetcher, pytest.raises(Unavailable, match="There is no host"):
        fetcher.get(Ask("https://name.invalid/f", 1))


def test_proxies_of_the_environment_are_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(folder) as mirror, Fetcher(trusted=frozenset({mirror.place})) as fetcher:
        assert fetcher.get(Ask(f"{mirror.url}/f", 2)) == Slice(b"01", 10)
