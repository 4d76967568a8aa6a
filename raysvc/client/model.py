"""What the API answers where it says more, or less, than the record that it keeps. All the rest is `raysvc.domain`."""

from pydantic import Field

from raysvc.control.progress import Progress
from raysvc.domain.job import LIVE, Attempt, JobPhase, JobSpec
from raysvc.domain.model import Instant, Model
from raysvc.domain.project import Role, Token
from raysvc.domain.reason import Reason
from raysvc.domain.rendered import Rendered


class Job(Model):
    """A job as it was when the server answered. `position` is its place in the queue, from 1."""

    id: str
    uid: str
    project: str
    name: str
    phase: JobPhase
    reason: Reason
    attempt: int
    attempts: tuple[Attempt, ...] = ()
    spec: JobSpec
    owner: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    cluster: str | None = None
    stop_requested: bool = False
    position: int | None = None
    progress: Progress | None = None

    @property
    def live(self) -> bool:
        return self.phase in LIVE


class Preview(Model):
    """What a submission would become, and what the backend would be sent. Nothing was kept."""

    job: Job
    rendered: Rendered
    warnings: tuple[str, ...] = ()


class NewToken(Model):
    """A token and its secret, which is shown this once. `secret` is None for a dry run."""

    token: Token
    secret: str | None = Field(default=None, repr=False)


class Identity(Model):
    """Whom the server takes the bearer of this token for. No projects means all of them."""

    name: str
    role: Role
    projects: tuple[str, ...] = ()
    token_id: str = ""
