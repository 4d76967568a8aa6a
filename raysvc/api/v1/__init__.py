"""The native REST API. A route reads, calls one service of the platform, and writes: no decision is made here."""

from fastapi import APIRouter

from raysvc.api.v1 import floor, job, output, pool, project

# The two routes that submit stand alone, so that the app can put them before all others: routes are tried in order.
submitting = APIRouter(prefix="/v1")
submitting.include_router(job.submitting)

router = APIRouter(prefix="/v1")
for part in (job.router, output.router, project.router, pool.router, floor.router):
    router.include_router(part)
