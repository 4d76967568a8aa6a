"""The process that serves: its loop, its heap, its log."""

import asyncio
import gc
import io
import json
import socket
import sys
from datetime import UTC, datetime

import pytest
import structlog
import uvloop

from raysvc.api.server import Listeners
from raysvc.bootstrap.log import configure
from raysvc.bootstrap.process import run, settle


def test_the_server_runs_on_uvloop() -> None:
    loops = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())

    run(main())
    assert isinstance(loops[0], uvloop.Loop)


def test_what_the_start_made_is_never_collected_again() -> None:
    thresholds = gc.get_threshold()
    try:
        settle()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] > thresholds[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_a_reply_of_two_writes_does_not_wait_for_an_acknowledgement() -> None:
    listeners = Listeners.bind("127.0.0.1", 0, 0)
    try:
        with socket.create_connection(listeners.main.getsockname()):
            accepted, _ = listeners.main.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    finally:
        listeners.close()


def test_a_log_line_is_json_whatever_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written))
    before = structlog.get_config()
    try:
        configure(human=False)
        log = structlog.get_logger()
        log.info("said", text="é\n", at=datetime(2026, 1, 1, tzinfo=UTC), thing=structlog, number=1.5, items=(1, None))
        log.error("failed", exc_info=ValueError("bad"))
    finally:
        structlog.configure(**before)
    said, failed = map(json.loads, written.getvalue().splitlines())
    assert (said["event"], said["text"], said["number"], said["items"]) == ("said", "é\n", 1.5, [1, None])
    assert said["at"].startswith("2026-01-01")
    assert "structlog" in said["thing"]
    assert "ValueError: bad" in failed["exception"]
