"""Where a session with Ray comes from: a head of our own, or an address that was given."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from raysvc.backends.local import head
from raysvc.backends.local.area import Area
from raysvc.backends.local.config import LocalConfig
from raysvc.backends.local.confine import Confinement, confine
from raysvc.backends.rayjob.api import RayApi
from raysvc.errors import Invalid, RaysvcError, Unavailable
from raysvc.ports import Clock

_POLL_S = 0.1
# A head of our own gets them in a file of the jobs' user; another has no such file.
_IN_PLAIN_TEXT = "Secrets of jobs stand in plain text in the job table and the logs of the Ray at --ray-address."
_SESSION = re.compile(r"session_[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class Session:
    """A Ray that answers. `name` changes when Ray is started anew, and Ray's records are gone with the old one."""

    api: RayApi
    name: str
    ray_version: str
    head_node: str
    logs: Path | None
    first: psutil.Process | None = None


class Source(Protocol):
    """Gets a session, tells whether its processes live, and lets go of it."""

    @property
    def area(self) -> Area: ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator must know."""

    async def prepare(self) -> None:
        """Make the work area. Called first, once. Raises Invalid."""

    async def obtain(self) -> Session:
        """Return a session whose cluster can take jobs; raises a RaysvcError that says why there is none."""

    def lives(self, session: Session) -> bool:
        """Tell whether the session's processes live, as far as that can be seen from here."""

    async def release(self, session: Session | None, *, leave_running: bool) -> None:
        """Let go; a head of our own is ended, unless it is to be left running. May be repeated."""


async def connect(api: RayApi, sessions: Path | None = None, first: psutil.Process | None = None) -> Session:
    """Return the session that answers now; raises Unavailable until a head node is up and can tell what it has.

    `sessions` is the folder of a head of our own; of another, the cluster is asked where its session is.
    """
    version = await api.version()
    heads = (node for node in await api.nodes() if node.get("is_head_node") and node.get("resources_total"))
    head_node = next((str(node["node_id"]) for node in heads), None)
    name = str(version.get("session_name"))
    if head_node is None or not _SESSION.fullmatch(name):
        raise Unavailable(f"Ray at {api.url} has no head node yet.")
    folder = sessions / name if sessions else await _session_folder(api, head_node)
    return Session(
        api=api,
        name=name,
        ray_version=str(version.get("ray_version")),
        head_node=head_node,
        logs=folder / "logs" if folder else None,
        first=first,
    )


@asynccontextmanager
async def _closed_unless_used(api: RayApi) -> AsyncIterator[RayApi]:
    """Close the client if the block fails or is cancelled; else it goes on in a session."""
    try:
        yield api
    except BaseException:
        await api.close()
        raise


async def _session_folder(api: RayApi, head_node: str) -> Path | None:
    """Return where the head keeps its session, if that folder is on this machine (its name is one of a kind)."""
    for node in (await api.summary()).get("summary", []):
        raylet = node.get("raylet", {})
        folder = Path(raylet.get("sessionDir") or "/nowhere")
        if raylet.get("nodeId") == head_node and os.access(folder / "logs", os.R_OK | os.X_OK):
            return folder
    return None


class OwnHead:
    """A head that we start. One that an earlier server of this data directory left running is adopted."""

    def __init__(self, config: LocalConfig, clock: Clock, choose_port: Callable[[], int] = head.free_port) -> None:
        self._config = config
        self._clock = clock
        self._choose_port = choose_port
        self._files = head.HeadFiles(config.data_dir)
        self._confinement: Confinement | None = None
        self.area = Area((config.data_dir / "work").resolve())

    @property
    def warnings(self) -> tuple[str, ...]:
        warning = self._confinement.warning if self._confinement else None
        return (warning,) if warning else ()

    async def prepare(self) -> None:
        # Without Ray there is nothing to confine yet; `obtain` says so until it is installed.
        with suppress(Unavailable):
            await self._confined()

    async def _confined(self) -> Confinement:
        if self._confinement is None:
            self._confinement = await asyncio.to_thread(confine, self._config)
            self.area = self._confinement.area
        return self._confinement

    async def obtain(self) -> Session:
        confinement = await self._confined()
        state = self._files.read()
        process = await asyncio.to_thread(head.first_process, state) if state else None
        if state is None or process is None:
            if state:
                await asyncio.to_thread(head.end, state)
            state = await self._start(confinement)
            process = await asyncio.to_thread(head.first_process, state)
        try:
            return await self._answered(state, process)
        except (RaysvcError, OSError):
            await asyncio.to_thread(head.end, state)
            raise

    async def _start(self, confinement: Confinement) -> head.HeadState:
        """Start a head. Once begun it is not left half done: `release` must find what there is to end."""
        port = self._choose_port()
        begun = asyncio.create_task(asyncio.to_thread(head.start, self._config, self._files, confinement, port))
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            await begun
            raise

    async def _answered(self, state: head.HeadState, process: psutil.Process | None) -> Session:
        why = "ended before it answered"
        async with _closed_unless_used(RayApi(state.url, self.area.token.read_text())) as api:
            try:
                async with asyncio.timeout(self._config.start_timeout_s):
                    while process is not None and head.alive(process):
                        with suppress(Unavailable):
                            return await connect(api, self.area.ray, process)
                        await self._clock.sleep(_POLL_S)
            except TimeoutError:
                why = f"did not answer within {self._config.start_timeout_s:.0f} s"
            raise Unavailable(f"Ray's head {why}. Its last lines:\n{self._files.log_tail()}")

    def lives(self, session: Session) -> bool:
        return session.first is not None and head.alive(session.first)

    async def release(self, session: Session | None, *, leave_running: bool) -> None:
        if session:
            await session.api.close()
        state = self._files.read()
        if state and not leave_running:
            await asyncio.to_thread(head.end, state)


class GivenAddress:
    """A Ray that somebody else runs. Its driver logs are read as files where it runs on this machine.

    Jobs reach their folders in the work area only if it does, as a user who may write there.
    """

    def __init__(self, config: LocalConfig, url: str) -> None:
        self._config = config
        self._url = url
        self.area = Area(((config.shared_dir or config.data_dir) / "work").resolve())
        self.warnings = (_IN_PLAIN_TEXT,)

    async def prepare(self) -> None:
        await asyncio.to_thread(self.area.prepare)

    async def obtain(self) -> Session:
        file = self._config.ray_token_file
        try:
            token = file.read_text().strip() if file else None
        except OSError as error:
            raise Invalid(f"The token file {file} cannot be read: {error.strerror}.", field="ray_token_file") from error
        async with _closed_unless_used(RayApi(self._url, token)) as api:
            return await connect(api)

    def lives(self, session: Session) -> bool:  # noqa: ARG002 somebody else looks after its processes
        return True

    async def release(self, session: Session | None, *, leave_running: bool) -> None:  # noqa: ARG002 not ours to end
        if session:
            await session.api.close()
