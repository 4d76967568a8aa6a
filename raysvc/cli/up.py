"""`raysvc up`: the platform on this machine."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from raysvc.bootstrap import Ready, serve
from raysvc.bootstrap.log import configure
from raysvc.bootstrap.process import run
from raysvc.cli import parse
from raysvc.cli.output import console, warn
from raysvc.errors import Invalid
from raysvc.settings import Settings, default_data_dir

app = typer.Typer(add_completion=False)

KubeOption = Annotated[bool, typer.Option("--kube", help="Ray on Kubernetes (KubeRay 1.6+), not on this machine.")]
ContextOption = Annotated[
    str | None, typer.Option(help="With --kube: of the kubeconfig; our own pod's, or the current one.")
]
NamespaceOption = Annotated[
    str | None, typer.Option(envvar="RAYSVC_NAMESPACE", help="With --kube: where jobs run; the context's own.")
]
ImageOption = Annotated[
    str | None, typer.Option(envvar="RAYSVC_RAY_IMAGE", help="With --kube: of jobs' clusters; Ray's own image.")
]


@app.command(help="Run the platform on this machine: API, queue, local Ray. Ctrl-C or SIGTERM stops it cleanly.")
def up(  # noqa: PLR0913 each is an option of the command line
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where all is kept. $RAYSVC_DATA_DIR, or the user's own.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8500,
    dashboard_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the dashboards' own origin.")] = 0,
    openai_port: Annotated[int, typer.Option(min=0, max=65535, help="Of the proxy for OpenAI clients.")] = 0,
    ray_address: Annotated[str | None, typer.Option(help="URL of a Ray that runs, instead of a local one.")] = None,
    ray_token_file: Annotated[Path | None, typer.Option(exists=True, help="Holds that Ray's token.")] = None,
    kube: KubeOption = False,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    ray_image: ImageOption = None,
    database_url: Annotated[
        str | None, typer.Option(envvar="RAYSVC_DATABASE_URL", help="PostgreSQL, instead of an SQLite file.")
    ] = None,
    shared_dir: Annotated[
        Path | None,
        typer.Option(help="Keys, rules, blobs and jobs' folders of servers that share a database and a --ray-address."),
    ] = None,
    public_url: Annotated[str | None, typer.Option(help="How clients reach us through an ingress.")] = None,
    public_dashboard_url: Annotated[str | None, typer.Option(help="The same for the dashboards.")] = None,
    allowed_hosts: Annotated[
        list[str] | None, typer.Option("--allowed-host", help="A name we answer to as well; repeatable.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, help="Its key, PEM.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP beyond loopback.")] = False,
    policies: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Folder of policy files.")] = None,
    max_running_jobs: Annotated[
        int | None, typer.Option(min=1, help="At once; by cores and memory if not given.")
    ] = None,
    max_package_bytes: Annotated[
        int | None, typer.Option("--max-package-size", parser=parse.size, help="Of an upload; 2 GiB if not given.")
    ] = None,
    num_cpus: Annotated[int | None, typer.Option(min=1, help="Of the local Ray; the machine's if not given.")] = None,
    job_user: Annotated[str | None, typer.Option(help="Whom Ray runs as where the server is root.")] = None,
    keep_finished_days: Annotated[float, typer.Option(min=0, help="Finished jobs are kept so long; 0: for ever.")] = 30,
    keep_log_bytes: Annotated[
        int | None, typer.Option("--keep-log-size", parser=parse.size, help="Of all logs; the oldest go.")
    ] = None,
) -> None:
    given = locals()  # each option is named after its setting
    settings = _settings({name: value for name, value in given.items() if value is not None})
    configure(human=sys.stderr.isatty())
    run(serve(settings, _announce))


def _settings(given: dict[str, Any]) -> Settings:
    """Return the settings; raises Invalid, naming the option."""
    data_dir = given.get("data_dir") or default_data_dir()
    given |= {"data_dir": data_dir.expanduser().absolute(), "keep_finished_days": given["keep_finished_days"] or None}
    if "shared_dir" in given:
        given["shared_dir"] = given["shared_dir"].expanduser().absolute()
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise Invalid(f"--{name}: {first['msg']}.", field=name) from error


def _announce(ready: Ready) -> None:
    rows = {
        "API": ready.url,
        "OpenAI API": f"{ready.openai_url}/v1" if ready.openai_url else "none here: it takes the extra `serve`",
        "Ray dashboard": ready.dashboard_url,
        "Jobs": f"{ready.url}/jobs",
        "API docs": f"{ready.url}/docs",
        "Admin token": f"in the file {ready.token_file}",
    }
    out = console()
    out.print(Text("raysvc is ready.", style="bold green"))
    for title, place in rows.items():
        out.print(f"  {title:<14}{place}", soft_wrap=True)
    out.print(f"  {ready.note}", soft_wrap=True)
    out.file.flush()
    for text in ready.warnings:
        warn(text)
