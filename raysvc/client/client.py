"""The SDK's front door."""

import os
import time
import warnings
from collections.abc import Callable
from typing import Self

import httpx

from raysvc.client.admission import Admission
from raysvc.client.cluster import Clusters
from raysvc.client.discovery import Server, find_server, project_of
from raysvc.client.job import Jobs
from raysvc.client.key import Keys
from raysvc.client.model import Identity
from raysvc.client.plan import Plans
from raysvc.client.pool import NodePools, Nodes
from raysvc.client.project import Projects
from raysvc.client.secret import Secrets
from raysvc.client.service import Services
from raysvc.client.token import Tokens
from raysvc.client.wire import Call, Wire, body_of, read


class Client:
    """raysvc over HTTP, blocking. Use it as a context manager, in one thread at a time.

    With no `url`, the server that RAYSVC_URL names, or the one of this machine's default data directory; `token` and
    `project` likewise (RAYSVC_TOKEN, RAYSVC_PROJECT). `warn` hears what policies warn of. Every method raises the
    errors of `raysvc.errors`; Unavailable where the server does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        project: str | None = None,
        *,
        warn: Callable[[str], None] = lambda text: warnings.warn(text, stacklevel=3),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.server = _server(url, token)
        self.project = project or project_of()
        self.wire = Wire(self.server, transport=transport, sleep=sleep)
        self.jobs = Jobs(self.wire, self.project, warn)
        self.clusters = Clusters(self.wire, self.project)
        self.projects = Projects(self.wire)
        self.tokens = Tokens(self.wire)
        self.secrets = Secrets(self.wire, self.project)
        self.admission = Admission(self.wire)
        self.pools = NodePools(self.wire, self.project)
        self.nodes = Nodes(self.wire)
        self.keys = Keys(self.wire, self.project)
        self.plans = Plans(self.wire, self.project)
        self.services = Services(self.wire, self.project, warn)

    def whoami(self) -> Identity:
        """Return whom the server takes us for; raises Unauthenticated."""
        return read(Identity, self.wire.send(Call("GET", "/v1/whoami")))

    def version(self) -> str:
        """Return the server's version."""
        return str(body_of(self.wire.send(Call("GET", "/v1/version")), "version"))

    def close(self) -> None:
        """Close the connections. May be repeated."""
        self.wire.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _server(url: str | None, token: str | None) -> Server:
    if url is None:
        found = find_server()
        return Server(found.url, token or found.token)
    return find_server({"RAYSVC_URL": url, "RAYSVC_TOKEN": token or os.environ.get("RAYSVC_TOKEN", "")})
