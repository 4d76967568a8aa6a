"""The way to the Ray of each attempt's cluster: directly where we run in the cluster, else through the API server."""

import base64
import binascii
from typing import Protocol

from raysvc.backends.kuberay.connect import Connection
from raysvc.backends.kuberay.kube import ThroughServer
from raysvc.backends.rayjob.api import Door, RayApi
from raysvc.errors import NotFound, Unavailable
from raysvc.ports import Endpoint

# The key of the Secret that the operator makes for a cluster, under the cluster's name (authOptions: token).
_TOKEN = "auth_token"  # noqa: S105 a key's name


class Standing(Protocol):
    """A cluster that may be spoken to. `name` is what it is kept by, `cluster` its object's; `dashboard` is host:port.

    `guarded`: its Ray asks for a token. `made`: the object's uid, where one of the same name may follow it.
    """

    @property
    def name(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def dashboard(self) -> str: ...
    @property
    def guarded(self) -> bool: ...
    @property
    def made(self) -> str: ...


class Rays:
    """One client a cluster, kept until `forget`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[str, tuple[tuple[str, str], RayApi]] = {}

    async def of(self, view: Standing) -> RayApi:
        """Return the Ray of an attempt's cluster. Raises Unavailable where it does not stand."""
        # One that is made anew under its name has another token.
        which = (view.cluster, view.made)
        known, api = self._open.get(view.name, (which, None))
        if api is None or known != which:
            await self.forget(view.name)
            api = RayApi(self._url(view), await self._token(view), self._door())
            self._open[view.name] = which, api
        return api

    async def endpoint(self, view: Standing) -> Endpoint:
        """Return what a proxy of ours needs. Raises Unavailable where only the API server's door leads there."""
        if not self._connection.inside:
            raise Unavailable(
                f"The dashboard of {view.cluster} can be shown where raysvc runs in the cluster. From here: kubectl "
                f"-n {self._connection.namespace} port-forward svc/{_service(view)} 8265."
            )
        api = await self.of(view)
        return Endpoint(url=api.url, headers=dict(api.headers))

    async def forget(self, name: str) -> None:
        """Close what was opened for an attempt. May be repeated."""
        _, api = self._open.pop(name, (("", ""), None))
        if api is not None:
            await api.close()

    async def close(self) -> None:
        for name in list(self._open):
            await self.forget(name)

    def _url(self, view: Standing) -> str:
        if not view.dashboard:
            raise Unavailable(f"The cluster of {view.name} does not stand yet.")
        if self._connection.inside:
            return f"http://{view.dashboard}"
        service = f"/api/v1/namespaces/{self._connection.namespace}/services/{_service(view)}:dashboard/proxy"
        return self._connection.kube.url + service

    def _door(self) -> Door | None:
        if self._connection.inside:
            return None
        return Door(ThroughServer(self._connection.kube), self._connection.kube.tls)

    async def _token(self, view: Standing) -> str | None:
        if not view.guarded:
            return None
        path = f"/api/v1/namespaces/{self._connection.namespace}/secrets/{view.cluster}"
        try:
            secret = await self._connection.kube.must_get(path)
            return base64.b64decode(secret["data"][_TOKEN]).decode()
        except (NotFound, KeyError, TypeError, binascii.Error, UnicodeDecodeError) as error:
            raise Unavailable(f"The token of cluster {view.cluster} is not there.") from error


def _service(view: Standing) -> str:
    """Return the name of the head's service; status.dashboardURL is `service.namespace.svc.domain:port`."""
    return view.dashboard.partition(".")[0]
