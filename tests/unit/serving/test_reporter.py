"""What a replica and the control plane say to each other, each side against the schemas that lie beside the guard."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from reporter import MOST, Reporter
from spool import SpoolWriter

from raysvc.domain.replica import KeyGrant, ReplicaOrders, ReplicaReport, ReplicaState
from raysvc.payload import serving

from .conftest import SECRET, Replica

ABOUT = {"service": "0" * 16, "revision": 2, "replica": "abc", "host": "127.0.0.1", "port": 4000}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ControlPlane:
    """A server that takes reports as the real one does, and keeps them; `down` breaks its answers."""

    def __init__(self) -> None:
        self.reports: list[ReplicaReport] = []
        self.keys: tuple[KeyGrant, ...] = ()
        self.version = "v1"
        self.down = False
        self.withheld = 0
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = plane.take(body, self.headers["authorization"], self.path)
                self.send_response(503 if plane.down else 200)
                self.send_header("content-length", str(len(answer) + plane.withheld))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def take(self, body: bytes, authorization: str, path: str) -> bytes:
        assert (authorization, path) == ("Bearer token", "/v1/replicas/report")
        jsonschema.validate(json.loads(body), schema("report"))
        report = ReplicaReport.model_validate_json(body)
        self.reports.append(report)
        through = max((it.sequence for report in self.reports for it in report.usage), default=0)
        known = report.keys_version == self.version
        orders = ReplicaOrders(
            usage_through=through, keys_version=self.version, keys=None if known else self.keys
        ).model_dump_json()
        jsonschema.validate(json.loads(orders), schema("orders"))
        return orders.encode()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    made = ControlPlane()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def reporter(tmp_path: Path, plane: ControlPlane) -> Reporter:
    (tmp_path / "spool").mkdir()
    link = tmp_path / "link.json"
    link.write_text(json.dumps({"url": f"http://127.0.0.1:{plane.server.server_port}", "token": "token"}))
    return Reporter(ABOUT, tmp_path, link, flying=lambda: 3)


@pytest.fixture
def spend(tmp_path: Path) -> Iterator[Callable[..., None]]:
    writer = SpoolWriter(tmp_path / "spool")

    def entries(count: int, tokens: int = 3) -> None:
        for _ in range(count):
            writer.append("key1", b"request", NOW.timestamp(), (200, tokens - 1, 1, False))

    yield entries
    writer.close()


def schema(name: str) -> Any:
    return json.loads((serving() / f"{name}.schema.json").read_text())


def table(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "keys.json").read_text())["keys"]
    return found


@pytest.mark.parametrize(
    ("name", "current"),
    [
        ("report", ReplicaReport.model_json_schema()),
        ("orders", ReplicaOrders.model_json_schema(mode="serialization")),
    ],
)
def test_the_schemas_beside_the_guard_are_those_of_the_domain(name: str, current: dict[str, Any]) -> None:
    written = json.dumps(current, indent=2) + "\n"
    assert (serving() / f"{name}.schema.json").read_text() == written, "write it anew: the text is in this assertion"


def test_a_report_says_where_the_replica_is_and_what_it_used(
    reporter: Reporter, plane: ControlPlane, spend: Callable[..., None]
) -> None:
    spend(2)
    assert reporter.call("READY")
    (report,) = plane.reports
    assert report.model_dump(include=set(ABOUT)) == ABOUT
    assert (report.state, report.running, report.keys_version) == (ReplicaState.READY, 3, None)
    assert [(it.sequence, it.key, it.at, it.prompt_tokens, it.completion_tokens) for it in report.usage] == [
        (1, "key1", NOW, 2, 1),
        (2, "key1", NOW, 2, 1),
    ]


def test_usage_is_told_until_it_is_acknowledged_and_then_no_more(
    reporter: Reporter, plane: ControlPlane, spend: Callable[..., None]
) -> None:
    spend(MOST + 5)
    plane.down = True
    assert not reporter.call("READY")
    plane.down = False
    plane.reports.clear()
    assert [reporter.call("READY") for _ in range(3)] == [True] * 3
    assert [len(report.usage) for report in plane.reports] == [MOST, 5, 0]
    assert plane.reports[1].usage[0].sequence == MOST + 1


def test_keys_reach_the_guard_and_only_when_they_changed(
    tmp_path: Path, reporter: Reporter, plane: ControlPlane
) -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    plane.keys = (KeyGrant(id="key1", digest=digest, requests_per_minute=5),)
    replica = Replica(tmp_path)
    reporter.call("STARTING")
    assert replica.ask().status == 200
    before = (tmp_path / "keys.json").stat().st_ino
    reporter.call("READY")
    assert (tmp_path / "keys.json").stat().st_ino == before
    assert plane.reports[-1].keys_version == "v1"
    plane.version, plane.keys = "v2", ()
    reporter.call("READY")
    replica.now += 1
    assert replica.ask().status == 401


def test_a_key_that_expires_does(tmp_path: Path, reporter: Reporter, plane: ControlPlane) -> None:
    plane.keys = (KeyGrant(id="key1", digest="0" * 64, expires_at=NOW + timedelta(hours=1)),)
    reporter.call("READY")
    assert table(tmp_path)[0]["expires_at"] == NOW.timestamp() + 3600


def test_a_budget_counts_from_what_the_ledger_has(
    tmp_path: Path, reporter: Reporter, plane: ControlPlane, spend: Callable[..., None]
) -> None:
    spend(2, tokens=10)
    plane.keys = (KeyGrant(id="key1", digest="0" * 64, tokens_left=100),)
    reporter.call("READY")  # 20 are acknowledged with this answer, whose 100 are what is left after them
    assert table(tmp_path)[0]["allowance"] == 120
    spend(1, tokens=10)
    plane.version, plane.keys = "v2", (KeyGrant(id="key1", digest="0" * 64, tokens_left=90),)
    reporter.call("READY")
    assert table(tmp_path)[0]["allowance"] == 120


def test_a_control_plane_that_is_gone_changes_nothing(
    tmp_path: Path, reporter: Reporter, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter.call("READY")
    before = (tmp_path / "keys.json").read_bytes()
    (tmp_path / "link.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "token"}))
    assert [reporter.call("READY") for _ in range(2)] == [False, False]
    assert (tmp_path / "keys.json").read_bytes() == before
    said = capsys.readouterr().out
    assert said.count("does not answer") == 1
    assert "token" not in said


def test_an_answer_that_breaks_off_is_asked_for_again(tmp_path: Path, reporter: Reporter, plane: ControlPlane) -> None:
    plane.withheld = 1  # bytes that are promised and do not come: the server died while it wrote
    assert not reporter.call("READY")
    assert not (tmp_path / "keys.json").exists()
    plane.withheld = 0
    assert reporter.call("READY")


def test_a_spool_that_cannot_be_read_is_read_again(
    reporter: Reporter, plane: ControlPlane, spend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    spend(1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", full)
        assert not reporter.call("READY")
    assert reporter.call("READY")
    assert [len(report.usage) for report in plane.reports] == [1]


def test_a_replica_that_goes_says_so_and_tells_all_it_used(
    reporter: Reporter, plane: ControlPlane, spend: Callable[..., None]
) -> None:
    spend(MOST + 1)
    reporter._flying = lambda: 0  # noqa: SLF001 the requests in flight have ended
    began = time.monotonic()
    reporter.stop(60.0, linger=0.5)
    assert time.monotonic() - began >= 0.5  # the proxy may not have heard of it at once
    assert {report.state for report in plane.reports} == {ReplicaState.DRAINING}
    assert sum(len(report.usage) for report in plane.reports) == MOST + 1


def test_a_replica_that_goes_waits_for_nobody_who_is_not_there(reporter: Reporter, tmp_path: Path) -> None:
    (tmp_path / "link.json").unlink()
    reporter._flying = lambda: 0  # noqa: SLF001 as above
    began = time.monotonic()
    reporter.stop(600.0, linger=600.0)
    assert time.monotonic() - began < 300
