"""The loop that kills."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos import evidence
from tests.chaos.evidence import Scene
from tests.chaos.history import History
from tests.chaos.process import START_S, WORK_S, ServerProcess
from tests.chaos.server import POINTS
from tests.chaos.workload import Workload

SETTLE_S = 240.0
# How long a server lives that is not killed by a failpoint: some die while they start, some after much work.
_LIFE_S = (0.3, 6.0)
# A failpoint that is not passed by then is not waited for any longer.
_POINT_S = 9.0
# The first one is killed while its Ray comes up.
_FIRST_S = 2.0
# Where the first servers die: while they make the schema, and just after.
_BIRTH = ("commit.before:1", "commit.after:1")
# So many jobs are taken in at least, however slow the machine is and however short each life was.
_LEAST_JOBS = 10
# Twice as often as others: where a crash between effect and record is nearest.
_FAVOURED = ("commit.before", "commit.after", "jobs.apply.after", "ray.submit.before", "ray.submit.after")


class Tally(Counter[str]):
    """How many servers died, by where."""

    @property
    def kills(self) -> int:
        return sum(self.values())


class Deaths:
    """Chooses how each life ends: every failpoint in turn, in an order of the seed, and now and then a moment."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/deaths")  # noqa: S311 no secret
        self._points: list[str] = []

    def next(self) -> tuple[str, float]:
        """Return (a failpoint or "", how long to wait at most)."""
        if self._rng.random() < 0.25:
            return "", self._rng.uniform(*_LIFE_S)
        if not self._points:
            self._points = [*POINTS, *_FAVOURED]
            self._rng.shuffle(self._points)
        point = self._points.pop()
        many = point.startswith(("commit", "jobs.observe"))
        return f"{point}:{self._rng.randint(1, 25) if many else self._rng.choice((1, 1, 2))}", _POINT_S

    def missed(self, point: str) -> None:
        """Say that the point was not passed in that life: its turn comes again."""
        name, _, number = point.partition(":")
        if name and number != "1":
            self._points.insert(0, name)


def run(
    folder: Path,
    seconds: float,
    seed: int,
    database_url: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[History, Tally]:
    """Kill servers for so long, then let one live until all is done; return what was seen and where they died."""
    url = {"database_url": database_url} if database_url else {}
    server, tally, deaths = ServerProcess(folder / "data", **url), Tally(), Deaths(seed)
    scene = Scene(database_url or f"sqlite:///{server.data_dir}/raysvc.db", server.data_dir / "blobs", server.data_dir)
    try:
        for point in _BIRTH:
            server.start(point)
            tally[point.partition(":")[0]] += server.dies(START_S)
        server.start()
        work = Workload([server.wait_ready()], folder / "code", seed)
        work.start()
        try:
            over, point, patience = time.monotonic() + seconds, "", _FIRST_S
            while True:
                fired = server.dies(patience)
                if not fired:
                    deaths.missed(point)
                place = point if fired else "at a moment"
                tally[place.partition(":")[0]] += 1
                say(f"kill {tally.kills}: {place}; {len(work.known.ops)} calls so far")
                if time.monotonic() > over:
                    break
                point, patience = deaths.next()
                server.start(point)
            server.start()
            server.wait_ready()
            server.until(lambda: len(work.known.ids) >= _LEAST_JOBS, "take jobs in", WORK_S)
        finally:
            work.stop()
        with server.client() as client:
            evidence.settle(scene, SETTLE_S)
            found = evidence.gather(scene, client)
    finally:
        server.end()
    return found.model_copy(update={"plans": tuple(work.known.plans), "ops": tuple(work.known.ops)}), tally
