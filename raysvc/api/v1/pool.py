"""Node pools, nodes, and where a job would go. What is about nodes answers 409 where there is no Kubernetes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.v1 import place_example, view
from raysvc.api.v1.caller import Calling, DryRun, Visiting, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.domain.inventory import Fit, FitAsk, NewPools, NewQuarantine, NodeState, PoolState
from raysvc.domain.model import Name
from raysvc.domain.node import NodeName, Quarantine
from raysvc.domain.pool import Discovery, Pool

router = APIRouter(tags=["pools"], dependencies=[Depends(known_query)])

PoolName = Annotated[Name, Path(description="the pool", examples=["h100"])]
Node = Annotated[NodeName, Path(description="the node's name in Kubernetes", examples=["gpu-1"])]


@router.get(
    "/pools",
    summary="List node pools",
    responses={**ok(view.Items[PoolState], "By name.", example={"items": [place_example.POOL_STATE]}), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_pools(visit: Visiting) -> Response:
    """Return the pools that serve a project the token sees, and what is there of them now."""
    return view.listed(await visit.platform.pools.find(visit.who))


@router.post(
    "/pools",
    summary="Declare node pools",
    responses={**ok(view.Items[Pool], "The pools as they are now, or in a dry run would be."), **problems(write=True)},
    openapi_extra=takes(NewPools, example=place_example.POOLS, role="platform admin"),
)
async def apply_pools(request: Request, visit: Visiting, *, dry_run: DryRun = False) -> Response:
    """Make or replace pools by their names, all of them or none. Others stay. May be repeated."""
    new = await read(request, NewPools)
    return view.listed(await visit.platform.pools.apply(visit.who, new.pools, dry_run=dry_run))


@router.get(
    "/pools:discover",
    summary="Discover node pools",
    responses={**ok(Discovery, "Pools that the nodes suggest, to be looked through and declared."), **problems(409)},
    openapi_extra=needs("platform admin"),
)
async def discover_pools(visit: Visiting) -> Response:
    """Return the pools that the cluster's nodes suggest by their labels. Nothing is kept."""
    return view.reply(await visit.platform.pools.discover(visit.who))


@router.post(
    "/pools:fit",
    summary="Find a job a place",
    responses={**ok(Fit, "Where it would go now, or why each pool cannot take it."), **problems(409, 413, 415)},
    openapi_extra=takes(FitAsk, example=place_example.FIT, role="viewer"),
)
async def fit_job(request: Request, call: Calling) -> Response:
    """Return where a job of the project would go now, or why not and the nearest that would fit. Nothing is kept."""
    asked = await read(request, FitAsk)
    return view.reply(await call.platform.pools.fit(call.who, call.project, asked.spec))


@router.get(
    "/pools/{name}",
    summary="Get a node pool",
    responses={**ok(PoolState, "The pool.", example=place_example.POOL_STATE), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_pool(visit: Visiting, name: PoolName) -> Response:
    """Return the pool, what is there of it now, and what its operator should know."""
    return view.reply(await visit.platform.pools.get(visit.who, name))


@router.delete(
    "/pools/{name}",
    summary="Delete a node pool",
    status_code=204,
    responses={
        204: {"description": "It is gone."},
        **ok(Pool, "A dry run: the pool that would go."),
        **problems(507),
    },
    openapi_extra=needs("platform admin"),
)
async def delete_pool(visit: Visiting, name: PoolName, *, dry_run: DryRun = False) -> Response:
    """Forget a pool. Its nodes and what runs on them stay."""
    pool = await visit.platform.pools.delete(visit.who, name, dry_run=dry_run)
    return view.reply(pool) if dry_run else Response(status_code=204)


@router.get(
    "/nodes",
    summary="List nodes",
    responses={**ok(view.Items[NodeState], "By name.", example={"items": [place_example.NODE]}), **problems(409)},
    openapi_extra=needs("platform admin"),
)
async def list_nodes(visit: Visiting) -> Response:
    """Return the cluster's nodes: of which pool, whether they get work, and if not, why."""
    return view.listed(await visit.platform.pools.nodes(visit.who))


@router.put(
    "/nodes/{node}/quarantine",
    summary="Put a node in quarantine",
    responses={
        **ok(Quarantine, "It gets no more work.", example=place_example.QUARANTINE),
        **problems(409, write=True),
    },
    openapi_extra=takes(NewQuarantine, example={"reason": "XID 79 twice today"}, role="platform admin"),
)
async def put_quarantine(request: Request, visit: Visiting, node: Node, *, dry_run: DryRun = False) -> Response:
    """Give a node no work until it is released. What runs there runs on. May be repeated."""
    body = await read(request, NewQuarantine)
    return view.reply(await visit.platform.pools.quarantine(visit.who, node, body.reason, dry_run=dry_run))


@router.delete(
    "/nodes/{node}/quarantine",
    summary="Release a node",
    status_code=204,
    responses={204: {"description": "It may get work, or in a dry run might."}, **problems(507)},
    openapi_extra=needs("platform admin"),
)
async def delete_quarantine(visit: Visiting, node: Node, *, dry_run: DryRun = False) -> Response:
    """End a node's quarantine. May be repeated."""
    await visit.platform.pools.release(visit.who, node, dry_run=dry_run)
    return Response(status_code=204)
