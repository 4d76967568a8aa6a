"""Bearer tokens."""

from collections.abc import Sequence
from datetime import datetime

from raysvc.client.model import NewToken
from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.project import Role, Token


class Tokens:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> list[Token]:
        """Return the tokens within the projects of this one; their secrets are nowhere."""
        return read_items(Token, self._wire.send(Call("GET", "/v1/tokens")))

    def create(
        self, role: Role, owner: str, *, projects: Sequence[str] = (), expires_at: datetime | None = None
    ) -> NewToken:
        """Make a token; its secret is in this reply and never again. No projects means every project."""
        return read(NewToken, self._wire.send(self.creation(role, owner, projects=projects, expires_at=expires_at)))

    def creation(
        self, role: Role, owner: str, *, projects: Sequence[str] = (), expires_at: datetime | None = None
    ) -> Call:
        """Return the call that `create` sends."""
        body = {"role": role.value, "owner": owner, "projects": list(projects)}
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        return Call("POST", "/v1/tokens", json=body)

    def revoke(self, token_id: str) -> None:
        """End a token now; raises NotFound. May be repeated."""
        self._wire.send(self.revocation(token_id))

    def revocation(self, token_id: str) -> Call:
        """Return the call that `revoke` sends."""
        return Call("DELETE", f"/v1/tokens/{path_part(token_id)}", safe=True)
