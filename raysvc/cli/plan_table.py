"""A plan as people read it: the model, the ways to run it, why the marked one, and what to be careful of."""

from rich.table import Table
from rich.text import Text

from raysvc.cli.output import console, say, warn
from raysvc.domain.plan import Candidate, ModelSummary, Plan

# Rows for people; a catalogue of 40 machines comes to about 90.
_SHOWN = 12


def show_plan(plan: Plan, *, every: bool = False) -> None:
    """Print the plan; of many candidates the first alone, unless `every`."""
    out = console()
    out.print(Text(_model(plan.model, plan.engine)))
    shown = plan.candidates if every else plan.candidates[:_SHOWN]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "GPUS", "WHERE", "TP×PP", "WEIGHTS", "CONTEXT", "SEQS", "FITS", "KV TOKENS", "AT ONCE", "START"):
        table.add_column(title, overflow="fold")
    for title in ("$/H", "$/1M TOKENS", "CONFIDENCE"):
        table.add_column(title, overflow="fold")
    for index, candidate in enumerate(shown):
        best = index == plan.best
        table.add_row(*_row(candidate, best=best), style="bold green" if best else "" if candidate.fits else "dim")
    out.print(table)
    if len(shown) < len(plan.candidates):
        say(f"… and {len(plan.candidates) - len(shown)} more; --all shows them.")
    told = plan.best if plan.best is not None else 0
    if plan.candidates:
        _tell(plan.candidates[told], best=plan.best is not None)
    for warning in plan.warnings:
        warn(f"{warning[:1].upper()}{warning[1:]}.")


def _model(model: ModelSummary, engine: str) -> str:
    size = f"{model.parameters / 1e9:.3g}B parameters" if model.parameters else "no parameters"
    license_ = f", licence {model.license}" if model.license else ""
    return (
        f"{model.name}: {model.architecture}, {model.layers} layers, {size}, {model.quantization}, "
        f"{model.weights_gib:g} GiB loaded, context {model.max_model_len:,}{license_}; {engine}"
    )


def _row(it: Candidate, *, best: bool) -> tuple[str, ...]:
    where = f"{it.provider} {it.sku}" if it.sku else "any"
    return (
        "→" if best else "",
        f"{it.gpus} × {it.gpu}",
        where,
        f"{it.tensor_parallel}×{it.pipeline_parallel}" + (f" ×{it.replicas}" if it.replicas > 1 else ""),
        "16-bit" if it.quantization == "none" else it.quantization,
        f"{it.max_model_len:,}",
        str(it.max_num_seqs),
        _fits(it),
        f"{it.kv_tokens:,}" if it.kv_tokens > 0 else "",
        f"{it.concurrency:g}" if it.concurrency > 0 else "",
        f"{it.cold_start_s:.0f}s",
        _usd(it.usd_per_hour) + ("*" if it.price_stale else ""),
        _usd(it.usd_per_million_tokens),
        it.confidence,
    )


def _fits(it: Candidate) -> str:
    spare = it.kv_available_gib - it.kv_needed_gib
    if it.fits:
        return f"yes, {spare:+.1f} GiB"
    return (
        f"no, {spare:+.1f} GiB" if spare < 0 else "refused" if it.reasons[0].startswith("vLLM refuses") else "too close"
    )


def _usd(amount: float | None) -> str:
    return "" if amount is None else f"{amount:.2f}"


def _tell(it: Candidate, *, best: bool) -> None:
    """Print why the marked candidate (or, where none is, the first) is as it is."""
    out = console()
    title = "→" if best else "Nearest:"
    out.print(Text(f"\n{title} {it.gpus} × {it.gpu}" + (f" ({it.provider} {it.sku})" if it.sku else "")))
    for reason in it.reasons:
        out.print(Text(f"  {reason}"))
    if it.price_stale and it.price_as_of is not None:
        out.print(Text(f"  * price of {it.price_as_of}: stale; `raysvc service prices` has newer ones where it can"))
    if it.nearest_change is not None:
        out.print(Text(f"  Nearest change: {it.nearest_change}."))
    if it.fits:
        out.print(Text(f"  vllm serve … {' '.join(it.flags)}"), soft_wrap=True)
