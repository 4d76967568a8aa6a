"""Clients that never rest: Ray's own and ours, each in a thread, on a server that dies under them."""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ray.job_submission import JobSubmissionClient

import raysvc
from raysvc.client.discovery import Server
from raysvc.domain.job import TERMINAL
from raysvc.errors import RaysvcError, Unavailable
from tests.chaos.entrypoint import entrypoint_of
from tests.chaos.history import TAG, Op, Outcome, Plan, Verb

# More jobs that have not ended than this are not made: what waits in the end must end soon.
BACKLOG = 14
GIVE_UP_S = 240.0
_PAUSE_S = (0.02, 0.25)
_LONG_S = 10.0
_FOLDERS = 12


class Known:
    """What the clients know of each other's jobs, and all that they saw. Shared by their threads."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self.plans: list[Plan] = []
        self.ops: list[Op] = []
        self.ids: dict[str, str] = {}
        self.ended: set[str] = set()
        self.deleted: set[str] = set()
        self._numbers = itertools.count(1)

    def tag(self) -> str:
        return f"t{next(self._numbers):04d}"

    @property
    def backlog(self) -> int:
        return len(self.ids) - len(self.ended)

    def saw_ended(self, job_ids: set[str]) -> None:
        self.ended |= {tag for tag, job_id in list(self.ids.items()) if job_id in job_ids}

    @contextmanager
    def noted(self, verb: Verb, tag: str = "", job_id: str = "") -> Iterator[dict[str, Any]]:
        """Note the call that is made inside: what it puts there, or what it raises, which goes no further."""
        fields: dict[str, Any] = {"verb": verb, "tag": tag, "job_id": job_id, "outcome": Outcome.OK}
        began = time.time_ns()
        try:
            yield fields
        except RaysvcError as error:
            fields |= {"outcome": Outcome.REFUSED, "detail": error.message}
            if isinstance(error, Unavailable):
                fields["outcome"] = Outcome.UNKNOWN
        except Exception as error:  # noqa: BLE001 Ray's client raises whatever its libraries do
            fields |= {"outcome": _outcome(str(error)), "detail": f"{type(error).__name__}: {error}"[:300]}
        finally:
            self.ops.append(Op(began=began, ended=time.time_ns(), **fields))


def _outcome(text: str) -> Outcome:
    """Return what an error of Ray's client means."""
    if "Please use a different submission_id" in text:
        return Outcome.EXISTS
    if "Request failed with status code" in text and "status code 503" not in text:
        return Outcome.REFUSED
    return Outcome.UNKNOWN


class Client(Protocol):
    """A way to reach the server. Each call notes what it saw, and raises nothing."""

    def submit(self, plan: Plan, entrypoint: str) -> Outcome: ...
    def stop(self, tag: str, job_id: str) -> None: ...
    def delete(self, tag: str, job_id: str) -> None: ...
    def look(self, tag: str, job_id: str) -> None: ...
    def close(self) -> None: ...


class OurClient:
    """`raysvc.Client`, with idempotency keys."""

    def __init__(self, known: Known, server: Server, rng: random.Random) -> None:
        self._known = known
        self._rng = rng
        self._client = raysvc.Client(server.url, server.token)

    def submit(self, plan: Plan, entrypoint: str) -> Outcome:
        fields = _fields(self._known, plan, entrypoint)
        with self._known.noted(Verb.SUBMIT, plan.tag) as noted:
            job = self._client.jobs.submit(fields, idempotency_key=plan.key)
            noted |= {"job_id": job.id, "uid": job.uid}
            self._known.ids[plan.tag] = job.id
        outcome = self._known.ops[-1].outcome if "job_id" not in noted else Outcome(noted["outcome"])
        if outcome is Outcome.OK and self._rng.random() < 0.15:
            other = {**fields, "entrypoint": "echo another body"}
            with self._known.noted(Verb.REUSE, plan.tag):
                self._client.jobs.submit(other, idempotency_key=plan.key)
        return outcome

    def stop(self, tag: str, job_id: str) -> None:
        with self._known.noted(Verb.STOP, tag, job_id) as noted:
            noted["live"] = self._client.jobs.stop(job_id).live

    def delete(self, tag: str, job_id: str) -> None:
        with self._known.noted(Verb.DELETE, tag, job_id):
            self._client.jobs.delete(job_id)
            self._known.deleted.add(tag)

    def look(self, tag: str, job_id: str) -> None:
        if self._rng.random() < 0.3:
            with self._known.noted(Verb.LIST) as noted:
                jobs = list(self._client.jobs.list())
                noted["listed"] = tuple(job.id for job in jobs)
                self._known.saw_ended({job.id for job in jobs if job.phase in TERMINAL})
            return
        with self._known.noted(Verb.GET, tag, job_id) as noted:
            job = self._client.jobs.get(job_id)
            noted |= {"uid": job.uid, "phase": job.phase}
            if job.phase in TERMINAL:
                self._known.ended.add(tag)

    def close(self) -> None:
        self._client.close()


class RaysClient:
    """Ray's `JobSubmissionClient`: some jobs under an id of their own, some under a key, some under neither."""

    def __init__(self, known: Known, server: Server) -> None:
        self._known = known
        self._url = server.url
        self._headers = {"Authorization": f"Bearer {server.token}"}
        self._client: JobSubmissionClient | None = None

    def submit(self, plan: Plan, entrypoint: str) -> Outcome:
        fields = _fields(self._known, plan, entrypoint)
        metadata = {**fields["metadata"], "raysvc.retries": str(plan.fails)}
        if plan.key is not None:
            metadata["raysvc.idempotency_key"] = plan.key
        own_id = plan.tag if plan.once and plan.key is None else None
        with self._known.noted(Verb.SUBMIT, plan.tag, own_id or "") as noted:
            noted["job_id"] = self._connected().submit_job(
                entrypoint=entrypoint, submission_id=own_id, metadata=metadata, runtime_env=fields["runtime_env"]
            )
        outcome = Outcome(noted["outcome"])
        if outcome is Outcome.OK or (outcome is Outcome.EXISTS and own_id):
            self._known.ids[plan.tag] = noted["job_id"]
        return outcome

    def stop(self, tag: str, job_id: str) -> None:
        with self._known.noted(Verb.STOP, tag, job_id) as noted:
            noted["live"] = self._connected().stop_job(job_id)

    def delete(self, tag: str, job_id: str) -> None:
        with self._known.noted(Verb.DELETE, tag, job_id):
            self._connected().delete_job(job_id)
            self._known.deleted.add(tag)

    def look(self, tag: str, job_id: str) -> None:
        del tag, job_id
        with self._known.noted(Verb.LIST) as noted:
            jobs = self._connected().list_jobs()
            noted["listed"] = tuple(job.submission_id for job in jobs)
            self._known.saw_ended({str(job.submission_id) for job in jobs if job.status.is_terminal()})

    def close(self) -> None:
        """Nothing is kept open."""

    def _connected(self) -> JobSubmissionClient:
        if self._client is None:
            self._client = JobSubmissionClient(self._url, headers=self._headers)
            logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of each upload
        return self._client


def _fields(known: Known, plan: Plan, entrypoint: str) -> dict[str, Any]:
    """Return the fields of a spec."""
    env = {"working_dir": str(known.folders[plan.package])} if plan.package else {}
    retry = {"user": plan.fails, "backoff_s": 0.2}
    return {"entrypoint": entrypoint, "runtime_env": env, "metadata": {TAG: plan.tag}, "retry": retry}


class _Life:
    """What one client does until it is told to stop."""

    def __init__(self, known: Known, client: Client, rng: random.Random, *, plain: bool) -> None:
        self._known = known
        self._client = client
        self._rng = rng
        self._plain = plain  # without keys, some jobs

    def run(self, over: threading.Event) -> None:
        while not over.wait(self._rng.uniform(*_PAUSE_S)):
            draw = self._rng.random()
            if draw < 0.5:
                if self._known.backlog < BACKLOG:
                    self._submit(over)
                else:
                    self._on_one(self._client.stop, ended=False)
            elif draw < 0.6:
                self._on_one(self._client.stop, ended=False)
            elif draw < 0.75:
                self._on_one(self._client.delete, ended=True)
            else:
                self._on_one(self._client.look, ended=False)

    def _submit(self, over: threading.Event) -> None:
        plan, entrypoint = self._plan()
        self._known.plans.append(plan)
        give_up = time.monotonic() + GIVE_UP_S
        while self._client.submit(plan, entrypoint) is Outcome.UNKNOWN and plan.once:
            if time.monotonic() > give_up:
                return
            over.wait(0.2)
        if plan.key is not None and self._rng.random() < 0.3:
            self._client.submit(plan, entrypoint)

    def _plan(self) -> tuple[Plan, str]:
        rng, tag = self._rng, self._known.tag()
        kind = rng.random()
        key = None if self._plain and kind < 0.7 else f"key-{tag}"
        plan = Plan(
            tag=tag,
            key=key,
            once=key is not None or kind < 0.4,
            lines=rng.choice((1, 20, 300)),
            fails=1 if rng.random() < 0.15 else 0,
            package=rng.choice(tuple(self._known.folders)) if rng.random() < 0.5 else "",
        )
        pause_s = rng.choice((0.0, 0.0, 0.005))
        long_s = rng.choices((0.0, rng.uniform(0.2, 2.0), _LONG_S), (5, 4, 1))[0]
        return plan, entrypoint_of(plan, pause_s=pause_s, long_s=long_s)

    def _on_one(self, call: Callable[[str, str], None], *, ended: bool) -> None:
        """Call for one of the jobs: of the last dozen, or of those that were seen to have ended."""
        if ended:
            tags = sorted(self._known.ended - self._known.deleted)
        else:
            tags = [tag for tag in list(self._known.ids)[-40:] if tag not in self._known.ended][-12:]
        if tags:
            tag = self._rng.choice(tags)
            call(tag, self._known.ids[tag])


class Workload:
    """Four clients in as many threads, each of them of one of the servers."""

    def __init__(self, servers: Sequence[Server], folder: Path, seed: int) -> None:
        self.known = Known(_folders(folder))
        self._over = threading.Event()
        self._threads = []
        self._clients: list[Client] = []
        for number in range(4):
            rng = random.Random(f"{seed}/client/{number}")  # noqa: S311 no secret
            ours, server = number < 2, servers[number % len(servers)]
            client: Client = OurClient(self.known, server, rng) if ours else RaysClient(self.known, server)
            self._clients.append(client)
            life = _Life(self.known, client, rng, plain=not ours)
            self._threads.append(threading.Thread(target=life.run, args=(self._over,), name=f"client {number}"))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client finish what it began, and wait for it: the server must be up."""
        self._over.set()
        for thread in self._threads:
            thread.join(GIVE_UP_S)
            assert not thread.is_alive(), thread.name
        for client in self._clients:
            client.close()


def _folders(folder: Path) -> dict[str, Path]:
    """Make some working directories; what each holds is told by its file `what`."""
    folders = {f"w{number}": folder / f"w{number}" for number in range(_FOLDERS)}
    for name, path in folders.items():
        path.mkdir(parents=True)
        (path / "what").write_text(name)
    return folders
