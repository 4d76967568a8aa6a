"""The planner's one entry: read a model, try every way to run it, rank what fits."""

from dataclasses import replace

from raysvc.domain.plan import Candidate, ModelSummary, Plan, PlanRequest
from raysvc.errors import NotFound
from raysvc.planner.architecture import Architecture
from raysvc.planner.candidate import to_candidate
from raysvc.planner.catalogue import Catalogue, ListedModel, load_catalogue
from raysvc.planner.checkpoint import load
from raysvc.planner.config import Config, read_config
from raysvc.planner.describe import describe
from raysvc.planner.engine import find_engine
from raysvc.planner.estimate import estimate, fit
from raysvc.planner.evaluate import Evaluator, Outcome, Subject
from raysvc.planner.overhead import GIB
from raysvc.planner.quantization import FP8_ONLINE, Quantization, read_quantization
from raysvc.planner.safetensors import INDEX, indexed_bytes, read_tensors
from raysvc.planner.settle import checked_request, nearest_change, settle
from raysvc.planner.source import Reader, Source, resolve
from raysvc.planner.target import Target, splits, targets
from raysvc.planner.weights import Split, Weights

# An index by itself may state this much more or less than its architecture comes to; drafts and scales lie within.
_ALIKE = 1.3
_SENSELESS = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


def plan(request: PlanRequest, *, reader: Reader | None = None, catalogue: Catalogue | None = None) -> Plan:
    """Return the ways to run a model, those that fit first and the cheapest of them foremost.

    Pure but for reading the model's config.json and safetensors headers; blocks while it reads; may be repeated.
    Raises Invalid for a request, config, index or price table that makes no sense, NotFound for a model or pool that is
    not there, and whatever `reader` raises.
    """
    catalogue = catalogue or load_catalogue()
    request = checked_request(request)
    subject = read_subject(request, catalogue, reader)
    evaluator = Evaluator(subject, find_engine(request.engine_version), request)
    candidates = [
        candidate for target in targets(request, catalogue) for candidate in _candidates(evaluator, catalogue, target)
    ]
    candidates.sort(key=_rank)
    best = next((index for index, it in enumerate(candidates) if it.meets), None)
    return Plan(
        model=_summary(subject),
        engine=evaluator.engine.label,
        candidates=tuple(candidates),
        best=best,
        warnings=_warnings(candidates),
        catalogue_as_of=catalogue.as_of,
    )


def read_subject(request: PlanRequest, catalogue: Catalogue, reader: Reader | None) -> Subject:
    """Return the model as far as files tell: architecture, quantization and weights."""
    source, listed = _source(request, catalogue, reader)
    config = read_config(source) if source is not None else Config(request.model, listed.config if listed else {})
    try:
        model, quantization = describe(config), read_quantization(config)
        weights = _weights(request, source, listed, (model, quantization))
    except _SENSELESS as error:  # what a config can hold in place of numbers and names has no end
        what = f"{type(error).__name__}: {error}"
        raise config.invalid(f"does not describe a model ({what})", "model") from error
    if not weights.exact and request.weights_bytes is None and source is not None and source.size(INDEX) is not None:
        note = f"the files that {INDEX} names are not here: the size that it states was used"
        model = replace(model, notes=(*model.notes, note))
    return Subject(
        name=request.model,
        model=model,
        quantization=quantization if not _online(request, quantization) else Quantization(FP8_ONLINE),
        weights=weights,
        remote=source is None or "://" in request.model,
        license=listed.license if listed is not None else None,
    )


def _source(
    request: PlanRequest, catalogue: Catalogue, reader: Reader | None
) -> tuple[Source | None, ListedModel | None]:
    """Return where the model's files are. A catalogue entry stands in where nothing is found under the name."""
    listed = catalogue.model(request.model.removeprefix("hf://"))
    if listed is not None and reader is None:
        return None, listed
    try:
        return resolve(request.model, reader), listed
    except NotFound:
        if listed is None:
            raise
        return None, listed


def _online(request: PlanRequest, quantization: Quantization) -> bool:
    return request.quantization == "fp8" and not quantization.quantized


def _weights(
    request: PlanRequest, source: Source | None, listed: ListedModel | None, read: tuple[Architecture, Quantization]
) -> Weights:
    """Return the weights: from headers where there are files, else fitted to a known size, else estimated."""
    model, quantization = read
    online = _online(request, quantization)
    guess = estimate(model, quantization)
    stated = _stated(request, source, guess)
    tensors = read_tensors(source) if source is not None and stated is None else None
    if tensors:
        return load(model, quantization, tensors, online=online)
    size = stated or (listed.weights_bytes if listed is not None else None)
    if online:  # the size that is known is the 16-bit checkpoint's, not what is loaded
        return estimate(model, Quantization(FP8_ONLINE))
    return fit(model, guess, size) if size is not None else guess


def _stated(request: PlanRequest, source: Source | None, guess: Weights) -> int | None:
    """Return the weights' size as the request states it, or an index whose files are not here.

    An index that is far from what the architecture must have is of another model: its files are asked for.
    """
    if request.weights_bytes is not None or source is None:
        return request.weights_bytes
    size = indexed_bytes(source)
    return size if size is not None and 1 / _ALIKE < size / guess.checkpoint_bytes < _ALIKE else None


def _candidates(evaluator: Evaluator, catalogue: Catalogue, target: Target) -> list[Candidate]:
    """Return a target's candidates: every split that fits, and the most promising that does not where none does."""
    request = evaluator.request
    outcomes = [settle(evaluator, target, split) for split in splits(request, target, evaluator.subject.model)]
    fitting = [outcome for outcome in outcomes if outcome.fits]
    if not fitting and target.nodes > 1 and request.tensor_parallel is None and request.gpus is None:
        spread = [Split(target.per_node, nodes) for nodes in (2, 4) if nodes <= target.nodes]
        outcomes += [settle(evaluator, target, split) for split in spread]
        fitting = [outcome for outcome in outcomes if outcome.fits]
    shown = fitting if fitting and not _pinned(request) else outcomes
    if not fitting and not _pinned(request):
        shown = [min(outcomes, key=_shortfall)]
    return [_candidate(evaluator, catalogue, target, outcome) for outcome in shown]


def _pinned(request: PlanRequest) -> bool:
    """Say whether a way to run was named, so that each such way is answered, fitting or not."""
    return request.tensor_parallel is not None or request.gpus is not None


def _shortfall(outcome: Outcome) -> tuple[bool, int]:
    return bool(outcome.refused), outcome.short_bytes


def _candidate(evaluator: Evaluator, catalogue: Catalogue, target: Target, outcome: Outcome) -> Candidate:
    change = None if outcome.fits else nearest_change(evaluator, catalogue, target, outcome)
    return to_candidate(evaluator, target, outcome, change)


def _rank(candidate: Candidate) -> tuple[bool, bool, float, float, int]:
    """Order: what meets the ask, then what fits, then by price of a token, of an hour, and by GPUs."""
    unknown = float("inf")
    per_token, per_hour = candidate.usd_per_million_tokens, candidate.usd_per_hour
    return (
        not candidate.meets,
        not candidate.fits,
        per_token if per_token is not None else unknown,
        per_hour if per_hour is not None else unknown,
        candidate.gpus,
    )


def _summary(subject: Subject) -> ModelSummary:
    model, weights = subject.model, subject.weights
    return ModelSummary(
        name=subject.name,
        architecture=model.name,
        known=model.known,
        layers=len(model.layers),
        parameters=weights.parameters,
        weights_gib=round(sum(weights.stages(model, Split())) / GIB, 2),
        quantization=subject.quantization.label,
        max_model_len=model.max_model_len,
        license=subject.license,
        notes=model.notes,
    )


def _warnings(candidates: list[Candidate]) -> tuple[str, ...]:
    warnings = []
    if not any(candidate.fits for candidate in candidates):
        warnings.append("nothing that was tried fits; each candidate names the nearest change, if one was found")
    elif not any(candidate.meets for candidate in candidates):
        warnings.append("the model fits, but nothing that was tried meets the concurrency or the time to first token")
    stale = sum(candidate.price_stale for candidate in candidates)
    if stale:
        warnings.append(f"{stale} prices are older than 90 days and marked stale")
    return tuple(warnings)
