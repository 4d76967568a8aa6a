"""A job's HTTP calls, rendered purely. What is known only at the moment of sending stands as a reference until then.

References: `${secret:NAME}` (a secret of the project), `${package:NAME}` (an uploaded package, under the name that it
gets on the cluster), `${payload:NAME}` (the same for a program that ships with raysvc).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from raysvc.domain.job import ArchiveCode, ImageCode, Job, JobRef, JobSpec, PayloadCode
from raysvc.domain.package import uris_of
from raysvc.domain.rendered import Rendered
from raysvc.errors import Invalid

PACKAGE = re.compile(r"gcs://(?P<reference>\$\{(?P<kind>package|payload):(?P<name>[^}]+)\})")
SECRET = re.compile(r"\$\{secret:(?P<name>[A-Za-z_][A-Za-z0-9_]{0,127})\}")
# Ray joins a driver to its job by this key; a user's value would point it at another job.
_RAY_OWN_METADATA = "job_submission_id"
_JOB_NAME = "job_name"


@dataclass(frozen=True)
class Place:
    """What only the backend knows of where an attempt runs: its folders, whose server sends it, if from an image."""

    checkpoint: str
    output: str
    instance: str
    images: bool = False


def current_ref(job: Job) -> JobRef:
    """Return the ref of the job's current attempt; raises Invalid where it has none yet."""
    ref = job.ref
    if ref is None:
        raise Invalid(f"Job {job.id} has no attempt yet.", field="attempt")
    return ref


def render(job: Job, place: Place) -> Rendered:
    """Return the calls that submit the job's current attempt, in order. Pure. Raises Invalid."""
    body = {
        "submission_id": current_ref(job).name,
        "entrypoint": job.spec.entrypoint,
        "runtime_env": _runtime_env(job, place),
        "metadata": _metadata(job, place),
        **_needs(job),
    }
    uploads = [
        {"method": "PUT", "path": f"/api/packages/gcs/{match['reference']}", "body": f"<the bytes of {match['name']}>"}
        for match in {match[0]: match for match in _packages(body["runtime_env"])}.values()
    ]
    return Rendered(format="http", documents=(*uploads, {"method": "POST", "path": "/api/jobs/", "body": body}))


def vet(spec: JobSpec, *, images: bool = False) -> None:
    """Return where `render` takes every attempt of a job of this spec, from an image too if `images`; else Invalid."""
    uris_of(spec.runtime_env)
    if spec.code is not None:
        if spec.runtime_env.get("working_dir"):
            raise Invalid("Give either code or runtime_env.working_dir, not both.", field="code")
        if not (images and isinstance(spec.code, ImageCode)):
            _working_dir(spec.code)
    variables = spec.runtime_env.get("env_vars") or {}
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise Invalid("runtime_env.env_vars must map names to strings.", field="runtime_env.env_vars")


def secret_names(runtime_env: Any) -> list[str]:
    """Return the secrets that any text of a runtime_env refers to, each once."""
    return list({match["name"]: None for text in texts(runtime_env) for match in SECRET.finditer(text)})


def package_references(runtime_env: Any) -> list[tuple[str, str]]:
    """Return the (kind, name) of every package that a rendered runtime_env refers to, each once."""
    return list({(match["kind"], match["name"]): None for match in _packages(runtime_env)})


def fill(runtime_env: Any, secrets: Mapping[str, str], uris: Mapping[tuple[str, str], str]) -> Any:
    """Return the runtime_env with its references replaced: secrets by their values, packages by their whole URIs."""

    def replace(text: str) -> str:
        if match := PACKAGE.fullmatch(text):
            return uris[match["kind"], match["name"]]
        return SECRET.sub(lambda found: secrets[found["name"]], text)

    return map_texts(runtime_env, replace)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with each text in it changed; keys stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, but not a map's keys."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left.extend(reversed(value.values()))
        elif isinstance(value, list):
            left.extend(reversed(value))


def _packages(runtime_env: Any) -> Iterator[re.Match[str]]:
    return filter(None, map(PACKAGE.fullmatch, texts(runtime_env)))


def _runtime_env(job: Job, place: Place) -> dict[str, Any]:
    spec = job.spec
    vet(spec, images=place.images)
    uploaded = {f"gcs://{name}": f"gcs://${{package:{name}}}" for name in uris_of(spec.runtime_env)}
    env: dict[str, Any] = map_texts(spec.runtime_env, lambda text: uploaded.get(text, text))
    if spec.code is not None and not (place.images and isinstance(spec.code, ImageCode)):
        env["working_dir"] = _working_dir(spec.code)
    env["env_vars"] = {
        **(env.get("env_vars") or {}),
        **{variable: f"${{secret:{name}}}" for variable, name in sorted(spec.secrets.items())},
        "PYTHONUNBUFFERED": "1",
        "RAYSVC_JOB_ID": job.id,
        "RAYSVC_PROJECT": job.project,
        "RAYSVC_ATTEMPT": str(job.attempt),
        "RAYSVC_CHECKPOINT_DIR": place.checkpoint,
        "RAYSVC_OUTPUT_DIR": place.output,
    }
    return env


def _working_dir(code: PayloadCode | ArchiveCode | ImageCode) -> str:
    match code:
        case PayloadCode(name=name):
            return f"gcs://${{payload:{name}}}"
        case ArchiveCode(uri=uri):
            named = uris_of({"working_dir": uri})
            return f"gcs://${{package:{named[0]}}}" if named else uri
        case ImageCode():
            raise Invalid("Container images need a backend that runs containers; here, ship code.", field="code.kind")


def _metadata(job: Job, place: Place) -> dict[str, str]:
    users = {key: value for key, value in job.spec.metadata.items() if key != _RAY_OWN_METADATA}
    return {
        _JOB_NAME: job.name,
        **users,
        "raysvc.job_id": job.id,
        "raysvc.project": job.project,
        "raysvc.instance": place.instance,
    }


def _needs(job: Job) -> dict[str, Any]:
    """Return what the driver asks for. Ray pins a driver that asks for nothing to the head node."""
    resources = job.spec.resources
    asked = {
        "entrypoint_num_cpus": resources.cpus,
        "entrypoint_num_gpus": resources.gpus,
        "entrypoint_memory": resources.memory,
        "entrypoint_resources": resources.custom,
        "entrypoint_label_selector": job.spec.label_selector,
    }
    return {name: value for name, value in asked.items() if value}
