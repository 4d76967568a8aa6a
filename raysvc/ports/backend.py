"""A place where Ray runs, and what its drivers fetch."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar, runtime_checkable

from raysvc.domain.cluster import Cluster
from raysvc.domain.job import Job, JobRef
from raysvc.domain.model import Model
from raysvc.domain.observation import Observation
from raysvc.domain.rendered import Rendered

R_contra = TypeVar("R_contra", contravariant=True)
Ref = TypeVar("Ref")
Ref_contra = TypeVar("Ref_contra", contravariant=True)
Ref_co = TypeVar("Ref_co", covariant=True)


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
class Vetting(Protocol[R_contra]):
    """A driver that can tell what `render` refuses without rendering: each submit asks for no more. Pure."""

    def vet(self, record: R_contra) -> None:
        """Return where `render` takes every attempt of the record; raise the Invalid that it would raise."""


@runtime_checkable
class Foreseeable(Protocol[Ref_contra]):
    """A driver that can say beforehand what `stop` and `delete` would send: what their dry runs print. Pure."""

    def render_stop(self, ref: Ref_contra) -> Rendered: ...

    def render_delete(self, ref: Ref_contra) -> Rendered: ...


@runtime_checkable
class Watchful(Protocol[Ref_co]):
    """A driver that notices by itself when something becomes of an attempt."""

    def changes(self) -> AsyncIterator[Ref_co]:
        """Yield, without an end and without raising, the Ref of each attempt that may be worth a look now.

        Only hints: some may be missing, and what has happened is said by `observe`.
        """


@runtime_checkable
class Releasing(Protocol[Ref_contra]):
    """A driver whose attempts occupy something beyond their end: a cluster that was made for each."""

    async def release(self, ref: Ref_contra) -> None:
        """Let go of what an attempt occupies that has ended; its log is archived. Absent counts as success.

        Its record stays, so that it is not made again. May be repeated.
        """


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
        """Return a package's size and bytes; raises NotFound. Ones that are not what was uploaded end in Damaged."""
