"""raysvc: a managed Ray service that an organisation runs itself.

`raysvc.Client` is the SDK. Ray's own client finds `get_job_submission_client_cluster_info` here when its address is
`raysvc://PROJECT`. Both load on first use, so that `import raysvc` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raysvc.client.address import get_job_submission_client_cluster_info as get_job_submission_client_cluster_info
    from raysvc.client.client import Client as Client
    from raysvc.version import __version__ as __version__

_HOMES = {
    "__version__": "raysvc.version",
    "Client": "raysvc.client.client",
    "get_job_submission_client_cluster_info": "raysvc.client.address",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'raysvc' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})  # Ray looks for the hook with dir()
