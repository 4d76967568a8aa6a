"""Which paths of a Ray dashboard may pass, and for whom. Everything passes by GET or HEAD alone.

The names are those of Ray 2.60 (ray/dashboard/modules/*/…_head.py) that its UI and its state commands ask for. What is
not here does not pass: Ray also answers GETs that start profilers, read any log file or wait as long as they are told.
"""

import re
from enum import StrEnum

from raysvc.domain.access import Resource


class Access(StrEnum):
    """READ is for all who may see the cluster. The others are for admins.

    PROFILE slows the cluster's processes down; FILES reads any log file there, those of jobs long gone too.
    """

    READ = "read"
    PROFILE = "profile"
    FILES = "files"

    @property
    def resource(self) -> Resource:
        return Resource.DASHBOARD if self is Access.READ else Resource.PROFILE


# An id or a name of a file: no slash, and no segment that climbs.
_ID = r"(?!\.\.?(?:/|$))[A-Za-z0-9_.:~-]+"
_STATE = (
    r"api/v0/(?:actors|jobs|nodes|objects|placement_groups|runtime_envs|tasks|workers)",
    r"api/v0/(?:actors|objects|tasks)/summarize",
    r"api/v0/(?:cluster_events|cluster_metadata|platform_events|runtime_env_redaction)",
    r"api/v0/tasks/timeline",
    rf"nodes(?:/{_ID})?",
    r"api/cluster_status",
    r"api/serve/applications/?",
)
_UI = (
    rf"(?:favicon\.ico|static/{_ID}(?:/{_ID})*)?",
    rf"logical/actors(?:/{_ID})?",
    rf"api/jobs/?(?:{_ID})?",
    r"api/train/v2/runs(?:/v1)?",
    rf"api/data/datasets/{_ID}",
    r"api/(?:authentication_mode|grafana_health|prometheus_health|profiling_enabled|component_activities|version)",
    r"events|timezone|usage_stats_enabled|cluster_id",
)
_PROFILE = (
    r"memory_profile",
    r"worker/(?:traceback|cpu_profile|gpu_profile|jax_profile)",
    r"task/(?:traceback|cpu_profile)",
)
_FILES = (r"api/v0/logs(?:/file|/stream)?",)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.ASCII)


_TABLE = ((_any(*_STATE), Access.READ), (_any(*_PROFILE), Access.PROFILE), (_any(*_FILES), Access.FILES))
_UI_PATHS = _any(*_UI)


def state_access(path: str) -> Access | None:
    """Return who may read this path (no leading slash) of a cluster's state, or None where nobody may."""
    return next((access for pattern, access in _TABLE if pattern.fullmatch(path)), None)


def dashboard_access(path: str) -> Access | None:
    """Return who may read this path (no leading slash) of a cluster's dashboard, or None where nobody may."""
    return Access.READ if _UI_PATHS.fullmatch(path) else state_access(path)
