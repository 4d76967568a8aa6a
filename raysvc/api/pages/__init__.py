"""Server-rendered pages: log in, jobs, one job, the API. Plain HTML; the few lines of script only keep it fresh."""

from raysvc.api.pages.login import LoginLimit
from raysvc.api.pages.route import router

__all__ = ["LoginLimit", "router"]
