"""Inference keys, and what was used with them."""

from collections.abc import Sequence
from datetime import date

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.key import IssuedKey, Key, NewKey, UsageBy, UsageTotal


class Keys:
    """For changes, the methods that return a Call say what would be sent."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def list(self, *, project: str | None = None) -> Sequence[Key]:
        """Return the project's keys, oldest first; their secrets are nowhere."""
        return read_items(Key, self._wire.send(Call("GET", "/v1/keys", self._query(project))))

    def create(self, new: NewKey | None = None, *, project: str | None = None) -> IssuedKey:
        """Make a key; its secret is in this reply and never again. Raises NotFound, Forbidden, Invalid."""
        return read(IssuedKey, self._wire.send(self.creation(new, project=project)))

    def creation(self, new: NewKey | None = None, *, project: str | None = None) -> Call:
        """Return the call that `create` sends."""
        body = (new or NewKey()).model_dump(mode="json", exclude_defaults=True)
        return Call("POST", "/v1/keys", self._query(project), json=body)

    def revoke(self, key_id: str, *, project: str | None = None) -> None:
        """End a key: within 5 s it opens nothing any more. Raises NotFound, Forbidden. May be repeated."""
        self._wire.send(self.revocation(key_id, project=project))

    def revocation(self, key_id: str, *, project: str | None = None) -> Call:
        """Return the call that `revoke` sends."""
        return Call("DELETE", f"/v1/keys/{path_part(key_id)}", self._query(project), safe=True)

    def usage(
        self,
        by: UsageBy = UsageBy.KEY,
        *,
        since: date | None = None,
        until: date | None = None,
        project: str | None = None,
    ) -> Sequence[UsageTotal]:
        """Return what the project used, by key, service or day; days are UTC, both included."""
        period = {"by": by.value, "since": since and since.isoformat(), "until": until and until.isoformat()}
        return read_items(UsageTotal, self._wire.send(Call("GET", "/v1/usage", {**self._query(project), **period})))

    def _query(self, project: str | None) -> dict[str, str]:
        return {"project": project or self._project}
