"""`raysvc service plan`: the ways to run a model, worked out in this process; and the prices that it reckons with."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from raysvc.cli import parse
from raysvc.cli.output import Columns, Format, OutputOption, say, show, show_data
from raysvc.cli.plan_table import show_plan
from raysvc.cli.session import connect
from raysvc.domain.plan import GpuPool, Plan, PlanRequest
from raysvc.errors import Invalid
from raysvc.planner.azure import refresh
from raysvc.planner.catalogue import Catalogue, Sku, load_catalogue, parse_skus
from raysvc.planner.plan import plan as make_plan
from raysvc.planner.pool import of_pool
from raysvc.settings import default_data_dir
from raysvc.sources.access import access_of
from raysvc.sources.remote import body_fetcher, fetcher_of, opener

PriceFileOption = Annotated[
    Path | None,
    typer.Option(
        "--price-file",
        envvar="RAYSVC_PRICE_FILE",
        help="Your own prices: rows in place of the catalogue's.",
        hidden=False,
    ),
]
UtilizationOption = Annotated[float | None, typer.Option(help="Of 1; the engine's default, if left out.")]
EngineOption = Annotated[str | None, typer.Option(help="A release of vLLM; the newest known, if left out.")]
WeightsOption = Annotated[
    int | None, typer.Option(parser=parse.size, help="Size of the weights where only a config.json is at hand.")
]


def plan(  # noqa: PLR0913 each is an option of the command line
    model: Annotated[
        str,
        typer.Argument(help="A directory, a config.json, a name of the catalogue, or hf://, s3://, https://."),
    ],
    *,
    gpu: Annotated[str | None, typer.Option(help="A kind of GPU, such as H100 or L40S.")] = None,
    gpus: Annotated[int | None, typer.Option(help="Use exactly so many.")] = None,
    pool: Annotated[str | None, typer.Option(help="A node pool of the server.")] = None,
    tensor_parallel: Annotated[int | None, typer.Option("--tensor-parallel", "--tp")] = None,
    pipeline_parallel: Annotated[int | None, typer.Option("--pipeline-parallel", "--pp")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="The context that is needed, in tokens.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Sequences at once, at most.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option()] = None,
    gpu_memory_utilization: UtilizationOption = None,
    kv_cache_dtype: Annotated[str, typer.Option(help="auto, fp8, …")] = "auto",
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="Without CUDA graphs.")] = False,
    quantization: Annotated[str | None, typer.Option(help="fp8: quantize 16-bit weights while loading.")] = None,
    engine_version: EngineOption = None,
    weights_bytes: WeightsOption = None,
    usable_gib: Annotated[float | None, typer.Option(help="A GPU's memory as torch reports it.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Sequences at once that are asked for.")] = None,
    slo_ttft: Annotated[
        float | None, typer.Option(parser=parse.duration, help="Time to a first token: 2, 500ms.")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(help="Of a usual request.")] = 1024,
    output_tokens: Annotated[int, typer.Option(help="Of a usual request.")] = 256,
    usd_per_gpu_hour: Annotated[
        float | None, typer.Option(help="What a GPU costs you, in place of list prices.")
    ] = None,
    price_file: PriceFileOption = None,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Let the model's URL lead to a private address.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every candidate, not the best alone.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say how a model can be run: does it fit, with which flags, how fast does it start, what does it cost.

    Nothing is scheduled, and no server is needed unless --pool names a pool of one.
    """
    request = _request(locals())
    access = access_of(os.environ, credentials=True, allow_private=allow_private)
    with fetcher_of(access) as fetcher:
        reader = opener(access, fetcher) if "://" in model else None
        found = make_plan(request, reader=reader, catalogue=_catalogue(price_file))
    _print(found, output, every)


prices = typer.Typer(
    add_completion=False, no_args_is_help=True, help="See and refresh the prices that plans reckon with."
)


@prices.command("list")
def list_prices(*, price_file: PriceFileOption = None, output: OutputOption = Format.TABLE) -> None:
    """List machines and their prices, with their dates."""
    show(_catalogue(price_file).skus, output, _PRICES, key="sku")


@prices.command("refresh")
def refresh_prices(
    *,
    out: Annotated[Path | None, typer.Option("--out", help="Where to; the file that plans read, if left out.")] = None,
    price_file: PriceFileOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask Azure for today's prices of its machines, and keep them for later plans. Other clouds are not asked."""
    access = access_of({}, credentials=False)
    with fetcher_of(access) as fetcher:
        rows = refresh(_catalogue(price_file).skus, body_fetcher(fetcher), datetime.now(UTC).date())
    path = out or default_price_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"skus": [row.model_dump(mode="json") for row in rows]}
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}.", field="out") from error
    show(rows, output, _PRICES, key="sku")
    say(f"Kept in {path}; `raysvc service plan` reads it.")


def default_price_file() -> Path:
    """Return where refreshed prices are kept, and read from where they are there."""
    return default_data_dir() / "prices.yaml"


_PRICES: Columns = {
    "PROVIDER": lambda row: row.provider,
    "MACHINE": lambda row: row.sku,
    "GPUS": lambda row: f"{row.count} × {row.gpu}",
    "REGION": lambda row: row.region,
    "$/H": lambda row: f"{row.usd_per_hour:.2f}",
    "AS OF": lambda row: f"{row.as_of}" + (" stale" if row.stale(datetime.now(UTC).date()) else ""),
    "SOURCE": lambda row: row.source,
}


def _request(options: dict[str, Any]) -> PlanRequest:
    """Return the request that the options make; those that it knows have its fields' names."""
    given = {name: value for name, value in options.items() if name in PlanRequest.model_fields}
    given |= {"pools": _pools(options["pool"]), "slo_ttft_s": options["slo_ttft"], "today": datetime.now(UTC).date()}
    return parse.model(PlanRequest, given, options={"slo_ttft_s": "--slo-ttft"})


def _pools(name: str | None) -> tuple[GpuPool, ...]:
    if name is None:
        return ()
    with connect() as client:
        return (of_pool(client.pools.get(name)),)


def _catalogue(price_file: Path | None) -> Catalogue:
    """Return the catalogue with the prices that were refreshed, and those of the operator's own file above them."""
    kept = default_price_file()
    rows: tuple[Sku, ...] = _read_prices(kept) if kept.exists() else ()
    catalogue = load_catalogue().with_prices(rows)
    return catalogue if price_file is None else catalogue.with_prices(_read_prices(price_file))


def _read_prices(path: Path) -> tuple[Sku, ...]:
    try:
        return parse_skus(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            f"{path} cannot be read as a price table: {getattr(error, 'strerror', error)}.", field="price_file"
        ) from error


def _print(plan: Plan, output: Format, every: bool) -> None:
    if output is Format.TABLE:
        show_plan(plan, every=every)
    elif output is Format.ID:
        for candidate in plan.candidates:
            typer.echo(candidate.sku or candidate.gpu)
    else:
        show_data(plan.model_dump(mode="json"), output)
