"""The real API on fakes, served in a thread, and the real CLI in this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from raysvc.api.app import create_app
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import create_dashboard
from raysvc.api.server import Listeners
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.clock import SystemClock
from raysvc.cli.app import app
from raysvc.client.client import Client
from raysvc.control.ids import RandomIds
from raysvc.control.platform import Parts, Platform
from raysvc.control.vault import Vault
from raysvc.domain.project import Role
from raysvc.policies import load
from raysvc.testing.backend import FakeBackend
from raysvc.testing.serving import FakeEdge
from raysvc.testing.store import MemoryStore

TOKEN = "raysvc_the-token-of-these-tests"
POLICY = {
    "policy": "house",
    "rules": [
        {"name": "few-gpus", "when": "job.demand.gpus > 8", "deny": True, "message": "At most 8 GPUs."},
        {
            "name": "label-it",
            "when": '!("team" in job.labels) && job.queue == "labelled"',
            "warn": True,
            "message": "Label it.",
        },
    ],
}


@dataclass(frozen=True)
class Site:
    url: str
    platform: Platform
    policy: Path


def _platform(folder: Path, policy: Path) -> Platform:
    store, clock, blobs = MemoryStore(), SystemClock(), DirectoryBlobs(folder / "blobs")
    vault = Vault(Fernet.generate_key(), store.secrets, store.packages, blobs, clock)
    (folder / "spool").mkdir()
    return Platform(
        Parts(
            store=store,
            blobs=blobs,
            backend=FakeBackend(clock, vault),
            vault=vault,
            clock=clock,
            ids=RandomIds(),
            policies=load([policy], clock),
            spool=folder / "spool",
            holder="tests",
            edge=FakeEdge(),
        )
    )


async def _speak(platform: Platform) -> None:
    """Let the replicas of services report, as real ones do by themselves."""
    backend = platform.backend
    assert isinstance(backend, FakeBackend)
    while True:
        await backend.services.speak(platform.replicas.report, platform.vault.replica_token)
        await asyncio.sleep(0.1)


async def _serve(folder: Path, policy: Path, started: "Future[tuple[Site, Callable[[], object]]]") -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    platform = _platform(folder, policy)
    await platform.store.open()
    await platform.gate.adopt(TOKEN, Role.ADMIN, owner="admin")
    listeners = Listeners.bind("127.0.0.1", 0, 0)
    settings = ApiSettings(url=listeners.url, dashboard_url=listeners.dashboard_url, version="0", session_key=b"s" * 32)
    site = Site(listeners.url, platform, policy)
    await platform.start()
    speaking = asyncio.create_task(_speak(platform))
    try:
        await listeners.serve(
            create_app(platform, settings),
            create_dashboard(platform, settings),
            stop,
            on_ready=lambda: started.set_result((site, partial(loop.call_soon_threadsafe, stop.set))),
        )
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        await platform.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The API, served for all tests of this folder."""
    folder = tmp_path_factory.mktemp("site")
    log = (folder / "server.log").open("w")  # its log is not the CLI's output
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    policy = folder / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    started: Future[tuple[Site, Callable[[], object]]] = Future()

    def work() -> None:
        try:
            asyncio.run(_serve(folder, policy, started))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    site, stop = started.result(timeout=60)
    yield site
    stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    structlog.reset_defaults()
    log.close()


Run = Callable[..., Result]


@pytest.fixture
def run(site: Site, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the CLI, and check its exit code: `run("job", "list", code=0, input=None)`."""
    monkeypatch.setenv("RAYSVC_URL", site.url)
    monkeypatch.setenv("RAYSVC_TOKEN", TOKEN)
    monkeypatch.delenv("RAYSVC_PROJECT", raising=False)

    def invoke(*words: str, code: int = 0, **options: Any) -> Result:
        result = CliRunner().invoke(app, words, **options)
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        assert TOKEN not in result.output
        return result

    return invoke


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.url, TOKEN) as made:
        yield made
