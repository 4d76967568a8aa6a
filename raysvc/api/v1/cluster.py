"""Clusters: where jobs run, and those that jobs share."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.context import settings
from raysvc.api.v1 import place_example, view
from raysvc.api.v1.caller import Calling, DryRun, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.domain.cluster import Cluster, Connection, NewCluster, NewScale
from raysvc.domain.model import Name
from raysvc.domain.rendered import Rendered

router = APIRouter(tags=["clusters"], dependencies=[Depends(known_query)])

ClusterName = Annotated[Name, Path(description="the cluster's name", examples=["local"])]
Force = Annotated[bool, Query(description="stop the jobs that live on it")]


class CreatedCluster(Cluster):
    """The cluster, and in a dry run what the backend would be sent."""

    rendered: Rendered | None = None


@router.get(
    "/clusters",
    summary="List clusters",
    responses={**ok(view.Items[Cluster], "By name."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_clusters(call: Calling) -> Response:
    """Return the clusters of the project, or else of all that the token sees; `foreign` are those that others made."""
    return view.listed(await call.platform.shared.find(call.who, call.named))


@router.post(
    "/clusters",
    summary="Create a cluster",
    status_code=201,
    responses={
        **ok(CreatedCluster, "It is accepted and on disk.", 201, place_example.SHARED_CLUSTER),
        **ok(CreatedCluster, "A dry run: the cluster that would be, and what would be sent."),
        **problems(409, write=True),
    },
    openapi_extra=takes(NewCluster, example=place_example.NEW_CLUSTER, role="admin"),
)
async def create_cluster(request: Request, call: Calling, *, dry_run: DryRun = False) -> Response:
    """Make a cluster that jobs of the project may name; it comes up at once. Only on Kubernetes."""
    new = await read(request, NewCluster)
    made = await call.platform.shared.create(call.who, call.project, new, dry_run=dry_run)
    return _made(made.cluster, made.rendered, dry_run=dry_run)


@router.get(
    "/clusters/{name}",
    summary="Get a cluster",
    responses={**ok(Cluster, "The cluster as it is now."), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_cluster(call: Calling, name: ClusterName) -> Response:
    """Return the project's cluster of that name, or the platform's: its phase, its resources, what of them is used."""
    return view.reply(await call.platform.shared.get(call.who, call.project, name))


@router.delete(
    "/clusters/{name}",
    summary="Delete a cluster",
    status_code=202,
    responses={
        **ok(Cluster, "It is on its way out.", 202),
        **ok(Cluster, "A dry run: the cluster that would go."),
        **problems(409, 507),
    },
    openapi_extra=needs("admin"),
)
async def delete_cluster(
    call: Calling, name: ClusterName, *, force: Force = False, dry_run: DryRun = False
) -> Response:
    """Remove a shared cluster. Refused while jobs live on it, unless `force` stops them. May be repeated."""
    gone = await call.platform.shared.delete(call.who, call.project, name, force=force, dry_run=dry_run)
    return view.reply(gone, 200 if dry_run else 202)


@router.post(
    "/clusters/{name}/scale",
    summary="Scale a cluster",
    responses={**ok(Cluster, "The wish is on disk."), **problems(409, write=True)},
    openapi_extra=takes(NewScale, example={"min": 0, "max": 4}, role="admin"),
)
async def scale_cluster(request: Request, call: Calling, name: ClusterName, *, dry_run: DryRun = False) -> Response:
    """Ask for other bounds of a group of workers. How many there are between them is Ray's autoscaler's."""
    new = await read(request, NewScale)
    return view.reply(await call.platform.shared.scale(call.who, call.project, name, new, dry_run=dry_run))


@router.post(
    "/clusters/{name}/adopt",
    summary="Adopt a cluster",
    status_code=201,
    responses={
        **ok(CreatedCluster, "It is the project's.", 201),
        **ok(CreatedCluster, "A dry run: as it would be."),
        **problems(409, 507),
    },
    openapi_extra=needs("admin"),
)
async def adopt_cluster(call: Calling, name: ClusterName, *, dry_run: DryRun = False) -> Response:
    """Take a cluster that others made with kubectl. Before that it is listed, and never touched."""
    made = await call.platform.shared.adopt(call.who, call.project, name, dry_run=dry_run)
    return _made(made.cluster, made.rendered, dry_run=dry_run)


@router.get(
    "/clusters/{name}/connection",
    summary="Get the way to a cluster",
    responses={**ok(Connection, "Where Ray's own tools reach it."), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_connection(request: Request, call: Calling, name: ClusterName) -> Response:
    """Return how Ray's client and its dashboard reach the cluster through this server. No token stands in it."""
    cluster = await call.platform.shared.get(call.who, call.project, name)
    here = settings(request)
    base = here.public_url or here.url
    address = f"{base}/p/{cluster.project}"
    shared = {"raysvc.cluster": cluster.name} if cluster.owner == "raysvc" else {}
    dashboard = f"{base}/dashboards/{cluster.name}" if cluster.owner == "platform" else None
    return view.reply(Connection(cluster=cluster.name, address=address, dashboard=dashboard, metadata=shared))


def _made(cluster: Cluster, rendered: Rendered | None, *, dry_run: bool) -> Response:
    shown: BaseModel = CreatedCluster(**dict(cluster), rendered=rendered)
    return view.reply(shown, 200 if dry_run else 201)
