"""Services: deploy, look, wait, change, roll back, delete."""

import codecs
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from raysvc.client.stream import Patience
from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.control.serving.explain import ServiceExplanation
from raysvc.domain.event import Event
from raysvc.domain.model import Instant, Model
from raysvc.domain.reason import Reason
from raysvc.domain.rendered import Rendered
from raysvc.domain.replica import ReplicaState, Sighting
from raysvc.domain.service import UNSETTLED, ReplicaScale, Revision, ServicePhase, ServiceSpec
from raysvc.errors import NotFound, Unavailable

# Seconds between two looks: soon at first, then as rarely as a person minds.
_FIRST_LOOK_S, _LAST_LOOK_S = 0.2, 2.0


class Service(Model):
    """A service as it was when the server answered. `replicas` are those that answered lately."""

    name: str
    uid: str
    project: str
    phase: ServicePhase
    reason: Reason
    spec: ServiceSpec
    revision: int
    serving: int
    revisions: tuple[Revision, ...] = ()
    models: tuple[str, ...] = ()
    openai_url: str | None = None
    replicas: tuple[Sighting, ...] = ()
    owner: str
    created_at: Instant
    updated_at: Instant
    stop_requested: bool = False

    @property
    def ready(self) -> int:
        """How many replicas of the wanted revision take requests."""
        return sum(it.state is ReplicaState.READY and it.revision == self.revision for it in self.replicas)

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return self.phase not in UNSETTLED and not self.stop_requested


class Deployed(Service):
    """A service after a change; in a dry run as it would be, with what the backend would be sent."""

    warnings: tuple[str, ...] = ()
    rendered: Rendered | None = None


class Services:
    """The services of a project; each method takes another `project` where it is not the client's.

    For changes, the methods that return a Call say what would be sent.
    """

    def __init__(self, wire: Wire, project: str, warn: Callable[[str], None]) -> None:
        self._wire = wire
        self._project = project
        self._warn = warn

    def deploy(self, name: str, spec: ServiceSpec, *, project: str | None = None) -> Deployed:
        """Make a service and return it; once this returns, the server has it on disk. May be repeated.

        Raises Invalid, Denied, OverLimit, AlreadyExists (another one has the name), Conflict where nothing is served.
        """
        return self.send(self.deploying(name, spec, project=project))

    def deploying(self, name: str, spec: ServiceSpec, *, project: str | None = None) -> Call:
        """Return the call that `deploy` sends."""
        body = {"name": name, "spec": _plain(spec)}
        return Call("POST", "/v1/services", self._query(project), json=body, safe=True)

    def update(self, name: str, spec: ServiceSpec, *, project: str | None = None) -> Deployed:
        """Ask for another spec: a new revision, which takes over once it is ready. Raises as `deploy`, NotFound."""
        return self.send(self.updating(name, spec, project=project))

    def updating(self, name: str, spec: ServiceSpec, *, project: str | None = None) -> Call:
        """Return the call that `update` sends."""
        return self._call("PUT", name, project, json={"spec": _plain(spec)}, safe=True)

    def scale(self, name: str, replicas: ReplicaScale, *, project: str | None = None) -> Deployed:
        """Ask for another number of replicas; no engine that runs is started anew. May be repeated."""
        return self.send(self.scaling(name, replicas, project=project))

    def scaling(self, name: str, replicas: ReplicaScale, *, project: str | None = None) -> Call:
        """Return the call that `scale` sends."""
        return self._call("POST", name, project, "/scale", json=replicas.model_dump(mode="json"), safe=True)

    def rollback(self, name: str, to: int | None = None, *, project: str | None = None) -> Deployed:
        """Go back to an earlier revision's spec, by default the last that did not fail. Raises Conflict, Invalid."""
        return self.send(self.rolling_back(name, to, project=project))

    def rolling_back(self, name: str, to: int | None = None, *, project: str | None = None) -> Call:
        """Return the call that `rollback` sends."""
        return self._call("POST", name, project, "/rollback", json={} if to is None else {"to": to})

    def delete(self, name: str, *, project: str | None = None) -> Service:
        """Ask for the service's end, and return it. Returns before its replicas are gone; may be repeated."""
        return read(Service, self._wire.send(self.deletion(name, project=project)))

    def deletion(self, name: str, *, project: str | None = None) -> Call:
        """Return the call that `delete` sends."""
        return self._call("DELETE", name, project, safe=True)

    def send(self, call: Call) -> Deployed:
        """Send a change that one of the methods above returned, and say what policies warn of."""
        service = read(Deployed, self._wire.send(call))
        for warning in service.warnings:
            self._warn(warning)
        return service

    def preview(self, call: Call) -> Deployed:
        """Return what a change would come to, by the same checks; nothing is kept."""
        return read(Deployed, self._wire.rehearse(call))

    def get(self, name: str, *, project: str | None = None) -> Service:
        """Return the service; raises NotFound."""
        return read(Service, self._wire.send(self._call("GET", name, project)))

    def list(self, *, project: str | None = None) -> list[Service]:
        """Return the services of the project, oldest first. `project="*"`: of every one the token sees."""
        query = {"all_projects": "true"} if project == "*" else self._query(project)
        return read_items(Service, self._wire.send(Call("GET", "/v1/services", query)))

    def explain(self, name: str, *, project: str | None = None) -> ServiceExplanation:
        """Return why the service is in its phase, what happens next, and what one can do."""
        return read(ServiceExplanation, self._wire.send(self._call("GET", name, project, "/explain")))

    def events(self, name: str, *, project: str | None = None) -> Iterator[Event]:
        """Yield what happened to the service, oldest first."""
        call, after = self._call("GET", name, project, "/events"), 0
        while page := read_items(Event, self._wire.send(Call("GET", call.path, {**call.params, "after": after}))):
            yield from page
            after = page[-1].seq

    def logs(self, name: str, *, follow: bool = False, project: str | None = None) -> Iterator[str]:
        """Yield what the service's engines write; with `follow`, until the caller stops or the server does."""
        call = self._call("GET", name, project, "/logs")
        params = {**call.params, "follow": "true"} if follow else call.params
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with self._wire.stream(Call("GET", call.path, params)) as response:
            for chunk in response.iter_bytes():
                yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)

    def wait(
        self,
        service: str | Service,
        timeout: float | None = None,
        *,
        project: str | None = None,
        on_look: Callable[[Service], None] = lambda _: None,
    ) -> Service:
        """Block until nothing of the service is on its way and return it; GONE where it is deleted.

        One that was seen before, as `delete` returns it, may be gone already; of a name alone that is NotFound. Raises
        TimeoutError after `timeout` seconds. A server that goes away for less than a minute is waited
        for. `on_look` hears of each look.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, patience = _FIRST_LOOK_S, Patience(self._wire)
        name, last = (service, None) if isinstance(service, str) else (service.name, service)
        while True:
            try:
                last = self.get(name, project=project)
            except NotFound:
                if last is None:
                    raise
                return last.model_copy(update={"phase": ServicePhase.GONE, "updated_at": datetime.now(UTC)})
            except Unavailable as error:
                patience.wait(error)
                continue
            patience.met()
            on_look(last)
            if last.settled:
                return last
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"Service {name} is still {last.phase} after {timeout:g} s; it goes on.")
            self._wire.sleep(pause)
            pause = min(pause * 1.5, _LAST_LOOK_S)

    def _query(self, project: str | None) -> dict[str, str]:
        return {"project": project or self._project}

    def _call(
        self,
        method: str,
        name: str,
        project: str | None,
        below: str = "",
        *,
        json: object = None,
        safe: bool = False,
    ) -> Call:
        return Call(method, f"/v1/services/{path_part(name)}{below}", self._query(project), json=json, safe=safe)


def _plain(spec: ServiceSpec) -> dict[str, object]:
    # What is left at its default is left out, so that an older server takes it.
    return spec.model_dump(mode="json", exclude_defaults=True)
