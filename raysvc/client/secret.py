"""Secrets: set and named, never read back."""

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.project import Secret


class Secrets:
    """The secrets of a project; each method takes another `project` where it is not the client's."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def list(self, *, project: str | None = None) -> list[Secret]:
        """Return the secrets' names and times."""
        return read_items(Secret, self._wire.send(Call("GET", "/v1/secrets", self._params(project))))

    def set(self, name: str, value: str, *, project: str | None = None) -> Secret:
        """Keep a value, encrypted, replacing an earlier one. Jobs that run keep the one they started with."""
        return read(Secret, self._wire.send(self.setting(name, value, project=project)))

    def setting(self, name: str, value: str, *, project: str | None = None) -> Call:
        """Return the call that `set` sends. It holds the value: show it to nobody."""
        return Call("PUT", self._path(name), self._params(project), json={"value": value}, safe=True)

    def delete(self, name: str, *, project: str | None = None) -> None:
        """Forget a secret; raises NotFound. Queued jobs that name it will fail."""
        self._wire.send(self.deletion(name, project=project))

    def deletion(self, name: str, *, project: str | None = None) -> Call:
        """Return the call that `delete` sends."""
        return Call("DELETE", self._path(name), self._params(project))

    def _path(self, name: str) -> str:
        return f"/v1/secrets/{path_part(name)}"

    def _params(self, project: str | None) -> dict[str, str]:
        return {"project": project or self._project}
