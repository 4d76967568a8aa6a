"""Keeps a session with Ray: gets one, watches over it, and gets another when it is lost."""

import asyncio
import contextlib
import subprocess

import psutil
import structlog

from raysvc.backends.local.session import Session, Source
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.errors import RaysvcError, Unavailable
from raysvc.ports import Clock

log = structlog.get_logger()

# A process that is gone is seen within this; the dashboard is asked as often, for some 15 ms of its time.
_WATCH_S = 1.0
_PROBE_TIMEOUT_S = 5.0
_LONGEST_BACKOFF_S = 30.0
# So many starts in a row that failed are called a failure, and are still repeated.
_FAILED_AFTER = 3
# A session that lasted so long was a good one: the next start is the first again.
_GOOD_SESSION_S = 60.0


class Supervisor:
    """`phase` and `why` say how the cluster is; `session` is there while Ray answers, or lately did."""

    def __init__(self, source: Source, clock: Clock, unhealthy_after_s: float) -> None:
        self._source = source
        self._clock = clock
        self._unhealthy_after_s = unhealthy_after_s
        self._task: asyncio.Task[None] | None = None
        self.session: Session | None = None
        self.phase = ClusterPhase.PENDING
        self.why: Reason | None = None

    def require(self) -> Session:
        """Return the session; raises Unavailable, with the reason, while there is none."""
        if self.session is None:
            detail = f": {self.why.message}" if self.why and self.why.message else "."
            raise Unavailable(f"The cluster is {self.phase.value.lower()}{detail}")
        return self.session

    def start(self) -> None:
        """Begin; returns at once. May be repeated."""
        if self._task is None:
            self._turn(ClusterPhase.STARTING, "Ray is starting")
            self._task = asyncio.create_task(self._run(), name="local Ray")

    async def close(self, *, leave_running: bool) -> None:
        """Stop watching, and end the head unless it is to be left running. May be repeated."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        session, self.session = self.session, None
        self._turn(ClusterPhase.GONE, "closed")
        await self._source.release(session, leave_running=leave_running)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                self.session = session = await self._source.obtain()
            except (RaysvcError, OSError, subprocess.SubprocessError, psutil.Error) as error:
                failures += 1
                phase = ClusterPhase.FAILED if failures >= _FAILED_AFTER else ClusterPhase.STARTING
                self._turn(phase, str(error))
            else:
                began = asyncio.get_running_loop().time()
                self._turn(ClusterPhase.READY)
                lost = await self._watch(session)
                self.session = None
                self._turn(ClusterPhase.STARTING, lost)
                failures = 0 if asyncio.get_running_loop().time() - began > _GOOD_SESSION_S else failures + 1
                await self._let_go(session)
            await self._clock.sleep(min(_LONGEST_BACKOFF_S, 0.25 * 2**failures) if failures else 0.0)

    async def _watch(self, session: Session) -> str:
        """Return, as soon as the session is lost, what happened to it."""
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while self._source.lives(session):
            try:
                async with asyncio.timeout(_PROBE_TIMEOUT_S):
                    await session.api.nodes()
                    if self.phase is not ClusterPhase.READY:
                        version = await session.api.version()
                        if version.get("session_name") != session.name:
                            return "Ray was started anew"
            except (Unavailable, TimeoutError) as error:
                silent = loop.time() - answered
                text = str(error) or "Ray does not answer"
                if silent > self._unhealthy_after_s:
                    return f"Ray has not answered for {silent:.0f} s. {text}"
                self._turn(ClusterPhase.DEGRADED, text)
            else:
                answered = loop.time()
                self._turn(ClusterPhase.READY)
            await self._clock.sleep(_WATCH_S)
        return "Ray's head has died and is started anew"

    async def _let_go(self, session: Session) -> None:
        try:
            await self._source.release(session, leave_running=False)
        except RaysvcError as error:
            log.warning("local ray", detail=error.message)

    def _turn(self, phase: ClusterPhase, message: str = "") -> None:
        if phase is not self.phase:
            log.info("local ray", phase=phase.value, detail=message)
        self.phase = phase
        self.why = None if phase is ClusterPhase.READY else reason(ReasonCode.CLUSTER_NOT_READY, message)
