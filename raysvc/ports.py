"""What the core needs of the world, cut at the height of the domain. Protocols only; optional abilities are their own.

Every implementation, the ones of `raysvc.testing` included, passes the contract suite of its port in
`tests/contract/`. All methods are async unless pure; all raise only `raysvc.errors`.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from raysvc.domain.admission import Admission, Verdict
from raysvc.domain.cluster import Cluster
from raysvc.domain.event import Event
from raysvc.domain.job import Job, JobRef
from raysvc.domain.model import Model
from raysvc.domain.observation import Observation
from raysvc.domain.project import Package, Project, Secret, Token
from raysvc.domain.query import JobQuery, Page, PlacedRow, WaitingRow
from raysvc.domain.rendered import Rendered

R_contra = TypeVar("R_contra", contravariant=True)
Ref = TypeVar("Ref")
Ref_contra = TypeVar("Ref_contra", contravariant=True)


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the wall-clock time, aware, UTC."""

    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    def uid(self, now: datetime) -> str:
        """Return a new Uid that sorts by time."""

    def job_id(self) -> str:
        """Return a submission id as Ray makes them: `raysubmit_` and 16 letters and digits that are not confused."""

    def secret(self) -> str:
        """Return 256 bits of randomness, URL-safe."""


class Driver(Protocol[R_contra, Ref]):
    """One kind of record on one backend."""

    def render(self, record: R_contra) -> Rendered:
        """Return what `apply` would send for the record's current attempt. Pure."""

    async def apply(self, record: R_contra) -> None:
        """Make the record's current attempt exist. Idempotent by Ref: a second apply changes nothing.

        Raises Invalid where the backend refuses it for good, NotFound where a secret or package is gone,
        Unavailable where trying again may help.
        """

    async def observe(self, ref: Ref) -> Observation:
        """Return what is there now. Never raises: an unreachable backend is UNKNOWN."""

    async def stop(self, ref: Ref) -> None:
        """Ask it to end, gracefully; returns before it has. Absent or ended counts as success."""

    async def delete(self, ref: Ref) -> None:
        """Remove the external object; stops it first. Absent counts as success."""

    def owned(self) -> AsyncIterator[Ref]:
        """Yield the Ref of all that carries our name, for the orphan sweep."""

    def logs(self, ref: Ref, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """Yield the driver's output from byte `offset`; with follow, until the attempt has ended."""


@runtime_checkable
class Foreseeable(Protocol[Ref_contra]):
    """A driver that can say beforehand what `stop` and `delete` would send: what their dry runs print. Pure."""

    def render_stop(self, ref: Ref_contra) -> Rendered: ...

    def render_delete(self, ref: Ref_contra) -> Rendered: ...


class Clusters(Protocol):
    """The clusters of a backend."""

    async def get(self, name: str) -> Cluster:
        """Return the cluster as it is now; raises NotFound."""

    async def list(self) -> Sequence[Cluster]: ...


class Endpoint(Model):
    """Where a cluster's Ray answers, and the headers that open it. The headers hold a secret: never log them."""

    url: str
    headers: dict[str, str]


@runtime_checkable
class Reachable(Protocol):
    """A backend whose clusters can be spoken to by HTTP: proxies and state calls need no import of it."""

    async def endpoint(self, cluster: str) -> Endpoint:
        """Return the endpoint; raises NotFound or Unavailable."""


class ArtifactFile(Model):
    path: str
    size: int
    modified_at: datetime


class Artifacts(Protocol):
    """The files a job left in RAYSVC_OUTPUT_DIR."""

    async def list(self, uid: str) -> Sequence[ArtifactFile]: ...

    def read(self, uid: str, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield the file's bytes; raises NotFound. Never leaves the job's directory, not by a symlink either."""

    async def delete(self, uid: str) -> None: ...


class Backend(Protocol):
    """A place where Ray runs."""

    @property
    def clusters(self) -> Clusters: ...
    @property
    def jobs(self) -> Driver[Job, JobRef]: ...
    @property
    def artifacts(self) -> Artifacts: ...

    async def start(self) -> None:
        """Begin to bring the backend up; returns at once. Adopts what an earlier process left running."""

    async def close(self, *, leave_running: bool = False) -> None:
        """End what `start` began; with leave_running, only let go of it."""


class Materials(Protocol):
    """What a driver fetches at the moment of sending, and keeps nowhere."""

    async def secret(self, project: str, name: str) -> str:
        """Return a secret's value; raises NotFound."""

    async def package(self, project: str, name: str) -> tuple[int, AsyncIterator[bytes]]:
        """Return a package's size and bytes; raises NotFound."""


class Jobs(Protocol):
    """Jobs and their events. Each write is one durable transaction: when it returns, it is on disk."""

    async def add(self, job: Job, events: Sequence[Event], *, packages: Sequence[str] = ()) -> Job:
        """Keep a new job. Raises AlreadyExists (id taken), NotFound (a package of `packages` is not there)."""

    async def add_once(
        self, job: Job, events: Sequence[Event], *, key: str, body_digest: str, packages: Sequence[str] = ()
    ) -> tuple[Job, bool]:
        """Like `add` under an idempotency key of the project: return (the job of that key, whether it is new).

        Raises KeyReused where the key came before with another body.
        """

    async def by_key(self, project: str, key: str) -> tuple[Job, str] | None:
        """Return the job that an idempotency key made and the digest of its body; None for a new key."""

    async def get(self, project: str, job_id: str) -> Job:
        """Return the job of that id that is not deleted; raises NotFound."""

    async def get_by_uid(self, uid: str) -> Job:
        """Return the job, deleted or not; raises NotFound."""

    async def find(self, query: JobQuery) -> Page[Job]:
        """Return a page, newest first. Raises Invalid for a cursor that is not ours."""

    async def count_queued(self, project: str) -> int: ...

    async def due(self, now: datetime, limit: int) -> Sequence[Job]:
        """Return the jobs whose `due_at` has come, longest overdue first."""

    async def waiting(self, per_queue: int) -> Sequence[WaitingRow]:
        """Return per (project, queue) the first `per_queue` QUEUED jobs by priority, then age."""

    async def placed(self) -> Sequence[PlacedRow]:
        """Return all jobs in a phase of PLACED."""

    async def save(self, job: Job, events: Sequence[Event]) -> None:
        """Compare-and-set: the stored version must be that of the first event, less one. Raises StaleVersion.

        A job that leaves LIVE lets go of its packages.
        """

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events of a record with seq > after, in order."""

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[Job]:
        """Remove finished, finalised jobs that ended before then, and return them; their blobs are the caller's."""


class Lease(Model):
    name: str
    holder: str
    token: int
    deadline: datetime


class Leases(Protocol):
    async def acquire(self, name: str, holder: str, *, now: datetime, ttl_s: float) -> Lease | None:
        """Take or renew; None while somebody else holds it. `token` grows with each new holder."""

    async def release(self, lease: Lease) -> None: ...


class Projects(Protocol):
    async def put(self, project: Project) -> None: ...
    async def get(self, name: str) -> Project:
        """Raises NotFound."""

    async def list(self) -> Sequence[Project]: ...


class Tokens(Protocol):
    async def add(self, token: Token, secret_hash: str) -> None: ...
    async def by_hash(self, secret_hash: str) -> Token | None: ...
    async def list(self) -> Sequence[Token]: ...
    async def revoke(self, token_id: str, at: datetime) -> None:
        """Raises NotFound."""


class Secrets(Protocol):
    """Values are ciphertext here: encryption is the caller's."""

    async def put(self, secret: Secret, ciphertext: bytes) -> None: ...
    async def get(self, project: str, name: str) -> tuple[Secret, bytes]:
        """Raises NotFound."""

    async def list(self, project: str) -> Sequence[Secret]: ...
    async def delete(self, project: str, name: str) -> None:
        """Raises NotFound."""


class Packages(Protocol):
    async def add(self, package: Package) -> Package:
        """Keep it. The same name with the same digest returns the first, pinned anew; another digest: Conflict."""

    async def get(self, project: str, name: str) -> Package:
        """Raises NotFound."""

    async def pin(self, project: str, name: str, until: datetime) -> Package:
        """Raises NotFound."""

    async def remove_unreferenced(self, now: datetime, limit: int) -> Sequence[Package]:
        """Forget packages no live job names and whose pin is over, and return them; their blobs are the caller's."""


class Flags(Protocol):
    """Small settings of the whole platform, such as `admission_paused`."""

    async def get(self, name: str) -> str | None: ...
    async def put(self, name: str, value: str | None) -> None: ...


class Store(Protocol):
    """All durable state but blobs."""

    @property
    def jobs(self) -> Jobs: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def projects(self) -> Projects: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def secrets(self) -> Secrets: ...
    @property
    def packages(self) -> Packages: ...
    @property
    def flags(self) -> Flags: ...

    async def open(self) -> None:
        """Connect, migrate an older schema, refuse a newer one (DataDirError)."""

    async def close(self) -> None: ...


class Blobs(Protocol):
    """Named bytes: packages, logs. Keys are relative paths of [a-z0-9._-] segments joined by '/'."""

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> int:
        """Keep the bytes durably under the key, all or nothing; return their size. Replaces.

        Raises OverLimit above `limit` bytes, DiskFull.
        """

    async def append(self, key: str, data: bytes, *, at: int) -> int:
        """Write at offset `at`, which must be the size so far (Conflict if not); return the new size."""

    async def size(self, key: str) -> int:
        """Return the size, 0 where there is none; of a key that ends in '/', the size of all below it."""

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield chunks of ≤ 1 MiB; raises NotFound."""

    async def delete(self, key: str) -> None:
        """Absent counts as success. A key that ends in '/' deletes all below it."""


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    async def review(self, admission: Admission) -> Sequence[Verdict]:
        """Return what it has to say; empty means allow. Must not change anything."""


class Sink(Protocol):
    async def emit(self, event: Event) -> None: ...
