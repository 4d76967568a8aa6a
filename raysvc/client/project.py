"""Projects and what they may have running at once."""

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.project import Limits, Project


class Projects:
    """For changes, the methods that return a Call say what would be sent; `create` and `set` send it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> list[Project]:
        """Return the projects that the token sees."""
        return read_items(Project, self._wire.send(Call("GET", "/v1/projects")))

    def get(self, name: str) -> Project:
        """Return the project; raises NotFound."""
        return read(Project, self._wire.send(Call("GET", f"/v1/projects/{path_part(name)}")))

    def create(self, name: str, limits: Limits | None = None) -> Project:
        """Make a project; raises AlreadyExists, Forbidden (only the platform's admin may)."""
        return read(Project, self._wire.send(self.creation(name, limits)))

    def creation(self, name: str, limits: Limits | None = None) -> Call:
        return Call("POST", "/v1/projects", json={"name": name, "limits": (limits or Limits()).model_dump(mode="json")})

    def set(self, name: str, limits: Limits) -> Project:
        """Replace all the project's limits; raises NotFound, Forbidden. May be repeated."""
        return read(Project, self._wire.send(self.setting(name, limits)))

    def setting(self, name: str, limits: Limits) -> Call:
        return Call("PUT", f"/v1/projects/{path_part(name)}/limits", json=limits.model_dump(mode="json"), safe=True)
