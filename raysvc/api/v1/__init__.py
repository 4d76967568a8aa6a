"""The native REST API. A route reads, calls one service of the platform, and writes: no decision is made here."""

from fastapi import APIRouter

from raysvc.api.v1 import cluster, floor, job, key, output, plan, pool, project, service

# The two routes that submit stand alone, so that the app can put them before all others: routes are tried in order.
submitting = APIRouter(prefix="/v1")
submitting.include_router(job.submitting)

router = APIRouter(prefix="/v1")
_PARTS = (job, output, project, pool, key, plan, service, cluster, floor)
for part in _PARTS:
    router.include_router(part.router)
