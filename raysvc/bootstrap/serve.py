"""`raysvc up`: build the platform, serve it, and take it down again."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass

import structlog

from raysvc.api.app import create_app
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import create_dashboard
from raysvc.api.server import Listeners, Tls
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.clock import SystemClock
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.place import Place, edge_of, place_of
from raysvc.bootstrap.process import settle
from raysvc.bootstrap.shareddir import SharedDir
from raysvc.control.housekeeping import Retention
from raysvc.control.ids import RandomIds
from raysvc.control.platform import Parts, Platform
from raysvc.control.vault import Vault
from raysvc.domain.project import Role
from raysvc.errors import Invalid
from raysvc.policies import PolicyFolder
from raysvc.ports import Checked, Policy, ReplicaHome, Store
from raysvc.settings import Settings
from raysvc.sources.access import access_of
from raysvc.store import SqlStore
from raysvc.version import __version__

log = structlog.get_logger()


@dataclass(frozen=True)
class Ready:
    """What a person is told when the server serves."""

    url: str
    dashboard_url: str
    openai_url: str | None
    token_file: str
    note: str
    warnings: tuple[str, ...]


def assemble(settings: Settings, datadir: DataDir, policies: Sequence[Policy], url: str) -> tuple[Parts, Place]:
    """Return SQL, a directory of blobs and a place for Ray, and that place by itself. Nothing is opened or started.

    `url` is where this server answers.
    """
    clock, ids, shared = SystemClock(), RandomIds(), SharedDir(settings.deployment_dir)
    store = SqlStore(settings.database, clock)
    blobs = DirectoryBlobs(shared.blobs)
    vault = Vault(shared.secret_key(), store.secrets, store.packages, blobs, clock)
    place = place_of(settings, datadir, vault, clock, ReplicaHome(url, vault.replica_token))
    parts = Parts(
        store=store,
        blobs=blobs,
        backend=place.backend,
        vault=vault,
        clock=clock,
        ids=ids,
        policies=policies,
        spool=datadir.path / "spool",
        cluster=place.cluster,
        holder=datadir.tenant(),
        max_package_bytes=settings.max_package_bytes,
        retention=Retention(finished_jobs=settings.finished_jobs, log_bytes=settings.keep_log_bytes),
        edge=edge_of(settings, datadir, clock, url),
        replica_hosts=place.replica_hosts,
    )
    return parts, place


async def serve(
    settings: Settings, on_ready: Callable[[Ready], None], alter: Callable[[Parts], Parts] = lambda parts: parts
) -> None:
    """Serve until SIGINT or SIGTERM, then stop cleanly: Ray and its jobs end too, which takes some seconds.

    `alter` may put something round a part, as tests do that let this process die at a chosen step. Raises
    DataDirError, Conflict (a port in use), Invalid (a policy that does not parse), Unavailable (no database).
    """
    datadir = DataDir(settings.data_dir)
    # From the first to the last line: a signal that comes early or twice must not leave a Ray behind.
    with _stopping() as stop, contextlib.closing(datadir):
        datadir.open()
        shared = SharedDir(settings.deployment_dir)
        shared.open()
        policies = PolicyFolder(settings.policy_dir, SystemClock(), _say_policy_problem)
        listeners = Listeners.bind(settings.host, settings.port, settings.dashboard_port, tls=_tls(settings))
        with contextlib.closing(listeners):
            parts, place = assemble(settings, datadir, policies, listeners.url)
            platform = Platform(alter(parts))
            try:
                await platform.store.open()
                if settings.database_url is not None:
                    await shared.claim(platform.store.leases, platform.clock)
                await platform.gate.adopt(datadir.admin_token(), Role.ADMIN, owner="admin")
                await platform.start()
                api = _api(settings, listeners, shared.session_key())
                app, dashboard = create_app(platform, api), create_dashboard(platform, api)
                ready = Ready(
                    api.url,
                    api.dashboard_url,
                    platform.edge.url if platform.edge is not None else None,
                    str(datadir.path / "admin-token"),
                    place.note,
                    place.backend.warnings,
                )
                with _running(policies.watch()), _stopped_by_damage(platform.store, stop):
                    await listeners.serve(app, dashboard, stop, on_ready=lambda: _announce(datadir, ready, on_ready))
            finally:
                await platform.close()
                _raise_damage(platform.store)


def _say_policy_problem(problem: Invalid) -> None:
    log.error("policies not reloaded; the last good ones stay in force", problem=problem.message)


@contextlib.contextmanager
def _stopped_by_damage(store: Store, stop: asyncio.Event) -> Iterator[None]:
    """Stop the server as soon as what it has kept is found damaged: nothing must be built on that."""
    if not isinstance(store, Checked):
        yield
        return
    watch = asyncio.create_task(store.watch())
    watch.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        watch.cancel()


def _raise_damage(store: Store) -> None:
    if isinstance(store, Checked) and (damage := store.damage()) is not None:
        log.critical("database damaged", detail=damage.message)
        raise damage


@contextlib.contextmanager
def _running(work: Coroutine[None, None, None]) -> Iterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Tls(settings.tls_cert, settings.tls_key)


def _api(settings: Settings, listeners: Listeners, session_key: bytes) -> ApiSettings:
    return ApiSettings(
        url=listeners.url,
        dashboard_url=settings.public_dashboard_url or listeners.dashboard_url,
        version=__version__,
        session_key=session_key,
        public_url=settings.public_url,
        allowed_hosts=settings.allowed_hosts,
        models=access_of(os.environ, credentials=False),
    )


def _announce(datadir: DataDir, ready: Ready, on_ready: Callable[[Ready], None]) -> None:
    settle()
    told = {"url": ready.url, "pid": os.getpid(), "dashboard_url": ready.dashboard_url, "openai_url": ready.openai_url}
    datadir.announce({name: value for name, value in told.items() if value is not None})
    on_ready(ready)


@contextlib.contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
