"""`raysvc job submit`."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from raysvc.cli import parse, watch
from raysvc.cli.exit import Code
from raysvc.cli.output import DryRunOption, Format, OutputOption, ProjectOption, say, show_data, show_one, warn
from raysvc.cli.session import connect
from raysvc.cli.specfile import read_spec
from raysvc.client.client import Client
from raysvc.client.model import Job

_COMMAND = "raysvc.command"


class SubmitCommand(TyperCommand):
    """What stands behind `--` is the job's command, whatever it looks like."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if "--" in args:
            cut = args.index("--")
            ctx.meta[_COMMAND] = args[cut + 1 :]
            args = args[:cut]
        return super().parse_args(ctx, args)


def submit(  # noqa: PLR0913 each is an option of the command line
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE.yaml | -- COMMAND", help="A job spec.", exists=True, dir_okay=False)
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    job_id: Annotated[str | None, typer.Option("--id", help="The job's id; one is made if not given.")] = None,
    project: ProjectOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit 1 if it does not succeed.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its log as it comes, and wait.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="Submit once, however often this is run.")] = None,
    working_dir: Annotated[str | None, typer.Option(help="A folder to send along, or a URI.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for its environment; repeatable.")] = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs of its driver.")] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of its driver.")] = None,
    memory: Annotated[int | None, typer.Option(parser=parse.size, help="Of its driver: 512MiB, 2GB.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first; 0 if not given.")] = None,
    queue: Annotated[str | None, typer.Option(help="The queue it waits in.")] = None,
    cluster: Annotated[str | None, typer.Option(help="A cluster that the project's jobs share.")] = None,
    driver: Annotated[str | None, typer.Option(help="warm: from the project's pool, for short jobs. Else ray.")] = None,
    timeout: Annotated[float | None, typer.Option(parser=parse.duration, help="Over all attempts: 90s, 2h.")] = None,
    retries: Annotated[int | None, typer.Option(help="Try again so often if its command fails.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    secret: Annotated[list[str] | None, typer.Option(help="VARIABLE=SECRET, by name; repeatable.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE of Ray's metadata; repeatable.")] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Submit a job: a spec file, or a command behind `--`. Options win over the file."""
    spec = _spec(locals(), ctx.meta.get(_COMMAND))
    folder = file.parent if file else Path()
    with connect(project) as client:
        if dry_run:
            preview = client.jobs.preview(spec, job_id=job_id, folder=folder)
            for text in preview.warnings:
                warn(text)
            show_data(preview.rendered.model_dump(mode="json"), output)
            return
        job = client.jobs.submit(spec, job_id=job_id, idempotency_key=idempotency_key, folder=folder)
        if wait or follow:
            raise typer.Exit(_see_through(client, job, output, follow=follow))
    _show(job, output)


def _spec(options: dict[str, Any], command: list[str] | None) -> dict[str, Any]:
    """Return the spec of the file or command, with the options laid over it."""
    spec = _base(options["file"], command)
    plain = {name: name for name in ("name", "priority", "queue", "cluster", "driver")} | {"timeout": "timeout_s"}
    spec |= {field: options[option] for option, field in plain.items() if options[option] is not None}
    _merge(spec, "resources", {name: options[name] for name in ("cpus", "gpus", "memory")})
    _merge(spec, "retry", {"user": options["retries"]})
    for option, field in {"label": "labels", "secret": "secrets", "metadata": "metadata"}.items():
        _merge(spec, field, parse.pairs(options[option] or [], f"--{option}"))
    # A path on the command line starts where the person is, one in a file where the file is.
    code = options["working_dir"]
    local = code is not None and "://" not in code
    _merge(spec, "runtime_env", {"working_dir": str(Path(code).absolute()) if local else code})
    if options["env"]:
        spec["runtime_env"] = dict(spec.get("runtime_env", {}))
        _merge(spec["runtime_env"], "env_vars", parse.pairs(options["env"], "--env"))
    return spec


def _base(file: Path | None, command: list[str] | None) -> dict[str, Any]:
    if (file is None) == (not command):
        raise typer.BadParameter("Give a spec file, or `--` and a command: raysvc job submit -- python train.py")
    if file is not None:
        return read_spec(file).model_dump(exclude_unset=True)
    words = command or []
    # One word is a line for the shell as it stands; several are a command and its arguments.
    return {"entrypoint": words[0] if len(words) == 1 else shlex.join(words)}


def _see_through(client: Client, job: Job, output: Format, *, follow: bool) -> Code:
    """Watch the job to its end, and return the exit code for it."""
    if output is Format.ID:
        _show(job, output)  # now, so that who reads it has it even if we are interrupted
    else:
        say(f"Submitted {job.id}.")
    quiet = output is not Format.TABLE
    ended = watch.follow(client, job, log_to_stderr=quiet) if follow else watch.wait(client, job)
    if output in {Format.JSON, Format.YAML}:
        _show(ended, output)
    return watch.outcome(ended)


def _merge(spec: dict[str, Any], field: str, values: dict[str, Any]) -> None:
    given = {name: value for name, value in values.items() if value is not None}
    if given:
        spec[field] = {**spec.get(field, {}), **given}


def _show(job: Job, output: Format) -> None:
    if output is Format.TABLE:
        typer.echo(f"Submitted {job.id}: {watch.state(job)}.")
        say(f"Follow it: raysvc job logs -f {job.id}")
    else:
        show_one(job, output, {}, key="id")
