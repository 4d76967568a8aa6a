"""The native REST API. A route reads, calls one service of the platform, and writes: no decision is made here."""

from fastapi import APIRouter

from raysvc.api.v1 import floor, job, output, project

router = APIRouter(prefix="/v1")
for part in (job.submitting, job.router, output.router, project.router, floor.router):
    router.include_router(part)
