"""`raysvc service deploy` and `update`: a spec from a file and options, the options winning."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from raysvc.cli import parse, service_watch
from raysvc.cli.output import DryRunOption, Format, OutputOption, ProjectOption, say, show_data, show_one, warn
from raysvc.cli.session import connect
from raysvc.cli.specfile import read_file
from raysvc.client.client import Client
from raysvc.client.service import Service
from raysvc.client.wire import Call
from raysvc.domain.service import EngineSpec, ServiceSpec
from raysvc.errors import Invalid

_ENGINE = tuple(EngineSpec.model_fields)
FileOption = Annotated[
    Path | None, typer.Option("--file", "-f", help="A YAML file with a spec.", exists=True, dir_okay=False)
]
ModelOption = Annotated[str | None, typer.Option(help="A directory, or hf://, https://, s3://.")]
MinOption = Annotated[int | None, typer.Option("--min", min=0, help="Replicas, at least; 1 if not given.")]
MaxOption = Annotated[int | None, typer.Option("--max", min=1, help="Replicas, at most; as --min if not given.")]
CpusOption = Annotated[float | None, typer.Option(help="CPUs of a replica; 1 if not given.")]
GpusOption = Annotated[float | None, typer.Option(help="GPUs of a replica.")]
MemoryOption = Annotated[int | None, typer.Option(parser=parse.size, help="Of a replica: 16GiB.")]
TimeoutOption = Annotated[
    float | None, typer.Option(parser=parse.duration, help="A revision that is not ready by then has failed: 30m.")
]
TensorOption = Annotated[int | None, typer.Option("--tensor-parallel", "--tp", help="GPUs that share each layer.")]
PipelineOption = Annotated[int | None, typer.Option("--pipeline-parallel", "--pp", help="Stages of layers.")]
LenOption = Annotated[int | None, typer.Option(help="The longest context, in tokens.")]
SeqsOption = Annotated[int | None, typer.Option(help="Sequences at once, at most.")]
BatchedOption = Annotated[int | None, typer.Option(help="Tokens of one step, at most.")]
UtilizationOption = Annotated[float | None, typer.Option(help="The part of a GPU's memory that it takes, of 1.")]
KvOption = Annotated[str | None, typer.Option(help="auto, fp8, …")]
DtypeOption = Annotated[str | None, typer.Option(help="auto, bfloat16, …")]
EagerOption = Annotated[bool | None, typer.Option("--enforce-eager/--no-enforce-eager", help="Without CUDA graphs.")]
TrustOption = Annotated[
    bool | None,
    typer.Option("--trust-remote-code/--no-trust-remote-code", help="Run code of the model's author; for admins."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until it serves; exit 1 if it does not.")]


def deploy(  # noqa: PLR0913 each is an option of the command line
    name: Annotated[str, typer.Argument(help="The service's name, and the model's for clients.")],
    *,
    model: ModelOption = None,
    file: FileOption = None,
    min_: MinOption = None,
    max_: MaxOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    memory: MemoryOption = None,
    start_timeout: TimeoutOption = None,
    tensor_parallel: TensorOption = None,
    pipeline_parallel: PipelineOption = None,
    max_model_len: LenOption = None,
    max_num_seqs: SeqsOption = None,
    max_num_batched_tokens: BatchedOption = None,
    gpu_memory_utilization: UtilizationOption = None,
    kv_cache_dtype: KvOption = None,
    dtype: DtypeOption = None,
    enforce_eager: EagerOption = None,
    trust_remote_code: TrustOption = None,
    project: ProjectOption = None,
    wait: WaitOption = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Serve a model: an OpenAI-compatible endpoint. Options win over the file."""
    given = locals()
    base = read_file(file, ServiceSpec, "a service's spec is a mapping that has at least `model`") if file else None
    spec = spec_of(base, given)
    with connect(project) as client:
        finish(client, client.services.deploying(name, spec), dry_run=dry_run, wait=wait, output=output)


def update(  # noqa: PLR0913 each is an option of the command line
    name: Annotated[str, typer.Argument(help="The service's name.")],
    *,
    model: ModelOption = None,
    file: FileOption = None,
    min_: MinOption = None,
    max_: MaxOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = None,
    memory: MemoryOption = None,
    start_timeout: TimeoutOption = None,
    tensor_parallel: TensorOption = None,
    pipeline_parallel: PipelineOption = None,
    max_model_len: LenOption = None,
    max_num_seqs: SeqsOption = None,
    max_num_batched_tokens: BatchedOption = None,
    gpu_memory_utilization: UtilizationOption = None,
    kv_cache_dtype: KvOption = None,
    dtype: DtypeOption = None,
    enforce_eager: EagerOption = None,
    trust_remote_code: TrustOption = None,
    project: ProjectOption = None,
    wait: WaitOption = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change what a service is to be: options alone change what they name, a file replaces the whole spec.

    A new revision takes over once it is ready; one that fails leaves the one before in place.
    """
    given = locals()
    with connect(project) as client:
        if file is None:
            base = client.services.get(name).spec
        else:
            base = read_file(file, ServiceSpec, "a service's spec is a mapping that has at least `model`")
        call = client.services.updating(name, spec_of(base, given))
        finish(client, call, dry_run=dry_run, wait=wait, output=output)


def spec_of(base: ServiceSpec | None, options: dict[str, Any]) -> ServiceSpec:
    """Return the spec with the options laid over it; raises Invalid, naming the field."""
    spec: dict[str, Any] = {} if base is None else base.model_dump()
    model = options["model"]
    if model is not None:
        # A path on the command line starts where the person is.
        spec["model"] = model if "://" in model else str(Path(model).expanduser().absolute())
    if "model" not in spec:
        raise typer.BadParameter("Name a model, by --model or in a file: raysvc service deploy chat --model ./model")
    least, most = options["min_"], options["max_"]
    if least is not None and most is None:
        most = max(least, spec.get("replicas", {}).get("max", 1), 1)
    if options["start_timeout"] is not None:
        spec["start_timeout_s"] = options["start_timeout"]
    _merge(spec, "replicas", {"min": least, "max": most})
    _merge(spec, "resources", {name: options[name] for name in ("cpus", "gpus", "memory")})
    _merge(spec, "engine", {name: options[name] for name in _ENGINE})
    try:
        return ServiceSpec.model_validate(spec)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise Invalid(f"{field}: {first['msg'].removeprefix('Value error, ')}.", field=field) from error


def finish(client: Client, call: Call, *, dry_run: bool, wait: bool, output: Format) -> None:
    """Send a change, or show what it would come to; then wait for it where that is asked for."""
    if dry_run:
        preview = client.services.preview(call)
        for text in preview.warnings:
            warn(text)
        show_data(None if preview.rendered is None else preview.rendered.model_dump(mode="json"), output)
        return
    service: Service = client.services.send(call)
    if wait:
        service = service_watch.wait(client, service)
    if output is Format.TABLE:
        typer.echo(f"{service.name}: {service_watch.state(service)}.")
        if not wait:
            say(f"Wait for it: raysvc service wait {service.name}")
    else:
        show_one(service, output, {})
    if wait:
        raise typer.Exit(service_watch.outcome(service))


def _merge(spec: dict[str, Any], field: str, values: dict[str, Any]) -> None:
    given = {name: value for name, value in values.items() if value is not None}
    if given:
        spec[field] = {**spec.get(field, {}), **given}
