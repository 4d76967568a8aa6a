"""All durable state: records in a Store, bytes in Blobs."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from raysvc.domain.cluster import SharedCluster
from raysvc.domain.event import Event
from raysvc.domain.job import Job
from raysvc.domain.model import Model
from raysvc.domain.project import Package, Project, Secret, Token
from raysvc.domain.query import DueRow, JobQuery, Page, PlacedRow, SharingRow, WaitingRow
from raysvc.errors import Damaged
from raysvc.ports.key import Keys, Ledger
from raysvc.ports.pool import Pools, Quarantines
from raysvc.ports.record import Records
from raysvc.ports.service import ServiceRecords, Sightings


class Addition(NamedTuple):
    """A new job to keep. With a `key`, as `add_once` keeps it, else as `add` does.

    Where its project has `most_queued` jobs QUEUED already, it is not kept (OverLimit): that is counted in the same
    transaction, so that nobody gets past it by coming at the same time.
    """

    job: Job
    events: Sequence[Event]
    packages: Sequence[str] = ()
    key: str | None = None
    body_digest: str = ""
    most_queued: int | None = None


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

    async def add_each(self, additions: Sequence[Addition]) -> Sequence[tuple[Job, bool] | Exception]:
        """Keep many, each on its own: return for each, in order, (the job, whether it is new) or what `add` raises.

        Those that are kept are on disk.
        """

    async def by_key(self, project: str, key: str) -> tuple[Job, str] | None:
        """Return the job that an idempotency key made and the digest of its body; None for a new key."""

    async def get(self, project: str, job_id: str) -> Job:
        """Return the job of that id that is not deleted; raises NotFound."""

    async def get_by_uid(self, uid: str) -> Job:
        """Return the job, deleted or not; raises NotFound."""

    async def find(self, query: JobQuery) -> Page[Job]:
        """Return a page, newest first, of at most PAGE_BYTES. Raises Invalid for a cursor that is not ours.

        A page takes about the same time whatever the history: where its filters rarely meet it may be short, or empty,
        and yet not be the last.
        """

    async def count_queued(self, project: str, most: int | None = None) -> int:
        """Return how many jobs of the project are QUEUED, counted up to `most`, so that it costs no more than that."""

    async def get_many(self, uids: Sequence[str]) -> Sequence[Job]:
        """Return the jobs of these uids, in their order, deleted or not; those that are not there are left out."""

    async def due(self, now: datetime) -> Sequence[DueRow]:
        """Return all jobs whose `due_at` has come, longest overdue first: slim rows, since there may be thousands."""

    async def waiting(self, per_queue: int) -> Sequence[WaitingRow]:
        """Return per (project, queue, shared cluster) the first `per_queue` QUEUED jobs by priority, then age."""

    async def placed(self) -> Sequence[PlacedRow]:
        """Return all jobs in a phase of PLACED."""

    async def sharing(self) -> Sequence[SharingRow]:
        """Return all live jobs that name a cluster, by uid."""

    async def save(self, job: Job, events: Sequence[Event], *, fence: "Lease | None" = None) -> None:
        """Compare-and-set: the stored version must be that of the first event, less one. Raises StaleVersion.

        With a `fence` also where somebody else has taken that lease since: a leader that was held up changes nothing.
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

    async def get(self, name: str) -> Lease | None:
        """Return the lease as it was last taken or renewed, over or not; None where nobody ever took it."""

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

    async def find(self, project: str) -> Sequence[Package]:
        """Return all packages of a project, by name; none for one that there is not."""

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
    @property
    def pools(self) -> Pools: ...
    @property
    def quarantines(self) -> Quarantines: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def services(self) -> ServiceRecords: ...
    @property
    def clusters(self) -> Records[SharedCluster]: ...
    @property
    def sightings(self) -> Sightings: ...

    async def open(self) -> None:
        """Connect, migrate an older schema, refuse a newer one (DataDirError)."""

    async def close(self) -> None: ...


@runtime_checkable
class Checked(Protocol):
    """A store that looks whether what it has kept is still sound, and refuses to go on where it is not."""

    async def watch(self) -> None:
        """Look, beside the server; returns when damage is found, by whatever read or write."""

    def damage(self) -> Damaged | None:
        """Return what its operator must know of the damage that was found."""


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

    def keys(self, below: str) -> AsyncIterator[str]:
        """Yield the keys below one that ends in '/'. Those that come or go meanwhile may be left out."""

    async def delete(self, key: str) -> None:
        """Absent counts as success. A key that ends in '/' deletes all below it."""
