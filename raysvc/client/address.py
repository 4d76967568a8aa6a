"""Ray's plug-in hook: `ray job submit --address raysvc://PROJECT` finds the server and its token as the CLI does."""

import re
from typing import Any, NamedTuple

from raysvc.client.discovery import find_server, project_of
from raysvc.errors import Invalid

_PROJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ClusterInfo(NamedTuple):
    """What Ray's SubmissionClient reads of its own ClusterInfo. `headers` hold the token."""

    address: str
    cookies: dict[str, Any] | None
    metadata: dict[str, Any] | None
    headers: dict[str, Any] | None


def get_job_submission_client_cluster_info(
    address: str,
    *,
    create_cluster_if_needed: bool = False,  # noqa: ARG001 Ray's signature; raysvc's clusters are always there
    cookies: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    **_later: Any,
) -> ClusterInfo:
    """Return where the project's Ray API answers, and the header that opens it. `address` is what follows `raysvc://`.

    An empty address is RAYSVC_PROJECT, or `default`. The caller's own Authorization header stays. The metadata is the
    caller's alone: Ray lets a plug-in's default override what each job says. Raises Unavailable where no server runs.
    """
    project = address.strip("/") or project_of()
    if not _PROJECT.fullmatch(project):
        raise Invalid(f"raysvc://{address} does not name a project. It looks like raysvc://default.", field="address")
    server = find_server()
    given = dict(headers or {})
    if server.token and "authorization" not in {name.lower() for name in given}:
        given["Authorization"] = f"Bearer {server.token}"
    return ClusterInfo(server.base_of(project), cookies, metadata, given or None)
