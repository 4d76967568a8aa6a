"""A front with two projects on it. Everything of one holds a word that may reach nobody outside."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from raysvc.api.app import create_app
from raysvc.api.cluster.upstream import Upstream
from raysvc.api.dashboard import create_dashboard
from raysvc.control.intake import Submission
from raysvc.domain.cluster import NewCluster
from raysvc.domain.event import EventKind
from raysvc.domain.job import Job, JobPhase, JobSpec
from raysvc.domain.key import NewKey
from raysvc.domain.node import NodeView
from raysvc.domain.pool import Pool
from raysvc.domain.project import Package, Role
from raysvc.domain.query import JobQuery
from raysvc.domain.service import EngineSpec, ServiceSpec
from raysvc.errors import NotFound
from raysvc.ports import Store
from tests.unit.api_v1.world import ROOT, SETTINGS, URL, World
from tests.unit.domain.archives import REG, zipped

INSIDE, OUTSIDE = "team-a", "team-b"
MARK = "sesame-of-team-a"
POOL, NODE = "pool-a", "node-a"
START = datetime(2026, 1, 1, tzinfo=UTC)
PACKAGE = "_ray_pkg_0123456789abcdef.zip"
CONTENT = zipped(("a.py", MARK.encode(), REG))
P = JobPhase


def pool_of(name: str, mark: str) -> dict[str, Any]:
    """Return a pool of team-a's own."""
    return {"name": name, "spec": {"selector": {"pool": mark}, "nodes": {"fixed": 1}, "projects": [INSIDE]}}


class Names(NamedTuple):
    """What a request names: things of team-a, or NOTHING: things of the same form that are not there."""

    project: str
    job_id: str
    uid: str
    token_id: str
    cluster: str
    secret: str
    package: str
    pool: str
    node: str
    login: str
    key: str
    service: str
    shared: str
    stranger: str


NOTHING = Names(
    "team-z",
    "job-none",
    "zzzzzzzzzzzzzzzz",
    "0zzzzzzzzzzzzzzz",
    "spare",
    "SECRET_Z",
    "_ray_pkg_0123456789abcdee.zip",
    "pool-z",
    "node-z",
    "raysvc_none",
    "0zzzzzzzzzzzzzzy",
    "service-z",
    "cluster-z",
    "stranger-z",
)


class Place(World):
    """`world` of the unit tests with a cluster behind it that answers everything, and the dashboards' origin."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        super().__init__(folder, store)
        upstream = Upstream(httpx.MockTransport(_cluster))
        self.front = create_app(self.platform, SETTINGS, upstream)
        self.dashboard = create_dashboard(self.platform, SETTINGS, upstream)
        self._clients: dict[int, httpx.AsyncClient] = {}
        self._number = 0
        self._login = ""

    def begin(self, secret: str) -> str:
        """Return the cookie of a session on the main origin."""
        return str(self.front.state.sessions.begin(secret))

    async def settle(self) -> None:
        """Give team-a its cluster, secret and package; a job and a token of it are made anew by `names`."""
        self.backend.cluster = self.backend.cluster.model_copy(update={"project": INSIDE})
        await self.platform.secrets.put(ROOT, INSIDE, "SECRET_A", MARK)
        await self.platform.shelf.put(ROOT, INSIDE, ("gcs", PACKAGE), _once(CONTENT))
        self._login = await self.token(Role.VIEWER, OUTSIDE)
        self.backend.machines = [NodeView(name=NODE, labels={"pool": MARK})]

    async def names(self, *, ended: bool = False) -> Names:
        """Make a job and a token of team-a, and return the names of all there is."""
        self._number += 1
        job = await self._job(f"job-{self._number:04}", ended=ended)
        token, _ = await self.platform.gate.issue(Role.VIEWER, owner=MARK, projects=(INSIDE,))
        await self.platform.secrets.put(ROOT, INSIDE, "SECRET_A", MARK)
        key, _ = await self.platform.keys.create(ROOT, INSIDE, NewKey(name=MARK, services=(MARK,)))
        await self.store.pools.put(
            [Pool.model_validate({**pool_of(POOL, MARK), "created_at": START, "updated_at": START})]
        )
        service = await self._service(f"service-{self._number:04}")
        shared, stranger = f"cluster-{self._number:04}", f"stranger-{self._number:04}"
        await self.platform.shared.create(ROOT, INSIDE, NewCluster(name=shared))
        self.backend.shared.strangers[stranger] = INSIDE
        return Names(
            INSIDE,
            job.id,
            job.uid,
            token.id,
            "local",
            "SECRET_A",
            PACKAGE,
            POOL,
            NODE,
            self._login,
            key.id,
            service,
            shared,
            stranger,
        )

    async def _service(self, name: str) -> str:
        """Make a service of team-a that serves its second revision, as far as its record says."""
        desk, spec = self.platform.services, ServiceSpec(model=f"/models/{MARK}")
        await desk.deploy(ROOT, INSIDE, name, spec)
        newer = spec.model_copy(update={"engine": EngineSpec(max_model_len=64)})
        service = (await desk.update(ROOT, INSIDE, name, newer)).service
        now = self.clock.now()
        after, event = service.change(EventKind.REASON, now, actor="test", message=MARK, serving=2)
        await self.store.services.save(after, [event])
        return name

    async def _job(self, job_id: str, *, ended: bool) -> Job:
        spec = JobSpec(entrypoint=f"echo {MARK}", name=MARK, labels={"team": MARK}, metadata={"note": MARK}, queue=MARK)
        await self.platform.intake.submit(ROOT, Submission(INSIDE, spec, job_id=job_id))
        phases = (P.STARTING, P.RUNNING, P.SUCCEEDED) if ended else (P.STARTING, P.RUNNING)
        job = await self.move(job_id, *phases, project=INSIDE)
        await self.write(job, f"{MARK}\n".encode())
        files = {"f": MARK.encode(), "metrics.jsonl": b'{"step": 1, "%s": 2}\n' % MARK.encode()}
        self.backend.ray.files[job.uid] = {name: (data, self.clock.now()) for name, data in files.items()}
        return job

    async def ask(
        self, app: ASGIApp, method: str, path: str, headers: Mapping[str, Any], **options: Any
    ) -> httpx.Response:
        """Send one request to one of the origins; nothing is followed, no cookie kept."""
        client = self._clients.get(id(app))
        if client is None:
            transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 50000))
            client = self._clients[id(app)] = httpx.AsyncClient(transport=transport, base_url=URL)
        try:
            return await client.request(method, path, headers=headers, **options)
        finally:
            client.cookies.clear()

    async def state(self) -> str:
        """Return a digest of all that is kept: equal before and after means that nothing happened."""
        found: list[Any] = []
        for project in await self.store.projects.list():
            jobs = (await self.store.jobs.find(JobQuery(projects=(project.name,), limit=1000))).items
            # A job's head is the digest of its whole history.
            found += [project, [job.head for job in jobs], await self.store.secrets.list(project.name)]
            found.append(await self.store.keys.find(project.name))
        found.append([service.head for service in await self.store.services.live()])
        found.append([cluster.head for cluster in await self.store.clusters.live()])
        found += [await self.store.tokens.list(), await self.store.flags.get("admission_paused")]
        found += [await self.store.pools.list(), await self.store.quarantines.list()]
        found += [await self._package(project) for project in (INSIDE, OUTSIDE, "default")]
        found += [sorted(self.backend.ray.files), sorted(self.backend.ray.lives)]
        return hashlib.sha256(repr(found).encode()).hexdigest()

    async def _package(self, project: str) -> Package | None:
        try:
            return await self.store.packages.get(project, PACKAGE)
        except NotFound:
            return None


def methods_of(route: BaseRoute) -> Sequence[str]:
    """Return the methods of a route, HEAD included; WS for a WebSocket."""
    if isinstance(route, WebSocketRoute):
        return ("WS",)
    assert isinstance(route, Route), f"a route of an unknown kind: {route}"
    return sorted(route.methods or ())


def _cluster(request: httpx.Request) -> httpx.Response:
    """Answer as a cluster would on which only team-a has jobs."""
    if request.url.path == "/api/v0/jobs":
        return httpx.Response(200, json={"result": True, "msg": "", "data": {"result": {"result": []}}})
    return httpx.Response(200, json={"result": True, "data": {"note": MARK}})


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
