"""The wire forms of services: as clients read them, and what they send."""

from pydantic import BaseModel, Field

from raysvc.domain.model import Instant, Model, Name, Uid
from raysvc.domain.reason import Reason
from raysvc.domain.rendered import Rendered
from raysvc.domain.replica import Sighting
from raysvc.domain.service import Revision, Service, ServiceName, ServicePhase, ServiceSpec


class ServiceView(Model):
    """A service. `revision` is the one that is wanted, `serving` the one that takes requests (0: none yet)."""

    name: Name
    uid: Uid
    project: Name
    phase: ServicePhase
    reason: Reason
    spec: ServiceSpec
    revision: int
    serving: int
    revisions: tuple[Revision, ...] = Field(description="oldest first; the last 20")
    models: tuple[str, ...] = Field(description="the names that clients may ask for")
    openai_url: str | None = Field(description="base URL of OpenAI clients; null where this server has no proxy")
    replicas: tuple[Sighting, ...] = Field(description="those heard of in the last 10 s")
    owner: str
    created_at: Instant
    updated_at: Instant
    stop_requested: bool = Field(description="it is being deleted")


class DeployedView(ServiceView):
    """The service as it is kept, or in a dry run would be, and what policies warn of."""

    warnings: tuple[str, ...] = ()
    rendered: Rendered | None = Field(default=None, description="a dry run: what the backend would be sent")


class NewService(Model):
    """A service to make."""

    name: ServiceName
    spec: ServiceSpec


class ServiceUpdate(Model):
    """The whole spec that it is to have."""

    spec: ServiceSpec


class Rollback(Model):
    """Which revision's spec to go back to. None: the last one that did not fail."""

    to: int | None = Field(default=None, ge=1)


class OpenAiModel(BaseModel):
    """A model, in OpenAI's shape."""

    id: str
    object: str = "model"
    created: int = Field(description="seconds since 1970")
    owned_by: str


class OpenAiModels(BaseModel):
    """The models that a key opens, in OpenAI's shape."""

    object: str = "list"
    data: tuple[OpenAiModel, ...]


def service_view(service: Service, replicas: tuple[Sighting, ...], openai_url: str | None) -> ServiceView:
    """Return the service as clients read it."""
    return ServiceView(
        name=service.id,
        uid=service.uid,
        project=service.project,
        phase=service.phase,
        reason=service.reason,
        spec=service.spec,
        revision=service.revision,
        serving=service.serving,
        revisions=service.revisions,
        models=service.models,
        openai_url=openai_url,
        replicas=replicas,
        owner=service.owner,
        created_at=service.created_at,
        updated_at=service.updated_at,
        stop_requested=service.stop_requested,
    )


def openai_models(services: tuple[Service, ...]) -> OpenAiModels:
    """Return the models of these services, each under every name it has."""
    return OpenAiModels(
        data=tuple(
            OpenAiModel(id=name, created=int(service.created_at.timestamp()), owned_by=service.project)
            for service in services
            for name in service.models
        )
    )
