"""Which jobs a warm driver can run; the others belong to Ray's own job server. Pure."""

from typing import Any

from raysvc.backends.rayjob.body import package_references
from raysvc.domain.job import Job
from raysvc.errors import Invalid

# What the pool makes of a runtime_env by itself; `excludes` is for the client that packs the folder.
_KNOWN = frozenset({"env_vars", "working_dir", "excludes"})
_USE_RAY = 'Leave out driver "warm", so that Ray\'s own job server starts it.'


def check(job: Job, runtime_env: dict[str, Any]) -> None:
    """Return where a pool can run the job as rendered; raises Invalid, naming the field that it cannot honour."""
    spec = job.spec
    for name, amount in spec.resources.model_dump().items():
        if amount:
            raise Invalid(f"A warm driver reserves nothing for itself. {_USE_RAY}", field=f"resources.{name}")
    if spec.label_selector:
        raise Invalid(f"A warm driver runs where its pool is. {_USE_RAY}", field="label_selector")
    for name, value in runtime_env.items():
        if value and name not in _KNOWN:
            raise Invalid(
                f"A warm driver has env_vars and a working_dir; it cannot have {name}. {_USE_RAY}",
                field=f"runtime_env.{name}",
            )
    if wrong := [name for name in runtime_env.get("env_vars", {}) if not name or "=" in name]:
        raise Invalid(f"{wrong[0]!r} cannot be the name of an environment variable.", field="runtime_env.env_vars")
    if runtime_env.get("working_dir") and not package_references({"working_dir": runtime_env["working_dir"]}):
        raise Invalid(
            f"A warm driver's working_dir is a folder that the client uploads, not an address. {_USE_RAY}",
            field="runtime_env.working_dir",
        )
