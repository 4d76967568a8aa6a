"""Deciding what the request left open, and finding the nearest change for what does not fit."""

from collections.abc import Iterator
from dataclasses import replace

from raysvc.domain.plan import PlanRequest
from raysvc.errors import Invalid
from raysvc.planner.catalogue import Catalogue
from raysvc.planner.evaluate import Evaluator, Outcome, Setting
from raysvc.planner.target import Target
from raysvc.planner.weights import Split

# Rows of the sampler's warm-up to fall back to, largest first: releases that sort the vocabulary pay 38 bytes an entry.
_FEWER_SEQUENCES = (256, 128, 64, 32, 16, 8)
_HIGH_UTILIZATION = 0.95
_MOST_TP = 64


def settle(evaluator: Evaluator, target: Target, split: Split) -> Outcome:
    """Return the outcome with the request's own numbers, and the engine's defaults for the others.

    Where the context was left open it is cut to what fits. Where neither the number of sequences nor
    tensor_parallel was named, sequences are lowered until the model fits; a split that was named is answered as the
    engine would start it, and the lower number stands in the nearest change. What the request names is never changed.
    """
    key = (target.gpu.name, target.fast_links, split)
    if key not in evaluator.settled:
        evaluator.settled[key] = _settle(evaluator, target, split)
    return evaluator.settled[key]


def nearest_change(evaluator: Evaluator, catalogue: Catalogue, target: Target, outcome: Outcome) -> str | None:
    """Return the smallest change found that makes this candidate fit, in words; None where nothing tried does."""
    key = (target.gpu.name, target.fast_links, outcome.setting)
    if key not in evaluator.changes:
        evaluator.changes[key] = _nearest_change(evaluator, catalogue, target, outcome)
    return evaluator.changes[key]


def _settle(evaluator: Evaluator, target: Target, split: Split) -> Outcome:
    outcome = evaluator.evaluate(target, _setting(evaluator, target, split, None))
    outcome = _shorten(evaluator, target, outcome)
    request = evaluator.request
    if outcome.fits or outcome.refused or request.max_num_seqs is not None or request.tensor_parallel is not None:
        return outcome
    if outcome.kv + outcome.activation < 0:  # no room even without any activation
        return outcome
    for sequences in _fewer(outcome.setting.max_num_seqs):
        tried = _shorten(evaluator, target, evaluator.evaluate(target, _setting(evaluator, target, split, sequences)))
        if tried.fits:
            return tried
    return outcome


def _nearest_change(evaluator: Evaluator, catalogue: Catalogue, target: Target, outcome: Outcome) -> str | None:
    for setting, words in _flag_changes(evaluator, outcome):
        if _fits(evaluator, target, setting):
            return words
    return (
        _fp8_weights(evaluator, target, outcome)
        or _more_gpus(evaluator, target, outcome)
        or _other_gpu(evaluator, catalogue, target, outcome)
    )


def _setting(evaluator: Evaluator, target: Target, split: Split, sequences: int | None) -> Setting:
    request, release, model = evaluator.request, evaluator.engine.on(target.gpu), evaluator.subject.model
    length = request.max_model_len or model.max_model_len
    sequences = sequences or request.max_num_seqs or release.default_seqs(target.gpu)
    default_tokens = max(release.default_tokens(target.gpu, length), sequences)
    return Setting(
        split=evaluator.split(split),
        max_model_len=length,
        max_num_seqs=sequences,
        tokens=request.max_num_batched_tokens or default_tokens,
        utilization=request.gpu_memory_utilization or release.utilization,
        kv_dtype=request.kv_cache_dtype,
        eager=request.enforce_eager,
    )


def _shorten(evaluator: Evaluator, target: Target, outcome: Outcome) -> Outcome:
    """Cut an open context to what fits beside the margin, in whole blocks; at least one prompt and its answer."""
    request = evaluator.request
    if outcome.fits or outcome.refused or request.max_model_len is not None or outcome.kv <= 0:
        return outcome
    shortest = request.prompt_tokens + request.output_tokens
    longest = evaluator.longest(target, outcome.setting)
    while longest >= shortest:
        tried = evaluator.evaluate(target, replace(outcome.setting, max_model_len=longest))
        if tried.fits:
            return tried
        longest = longest * 7 // 8 // request.block_size * request.block_size  # overhead that grows with the context
    return outcome


def _fits(evaluator: Evaluator, target: Target, setting: Setting) -> bool:
    return evaluator.evaluate(target, setting).fits


def _fewer(sequences: int) -> tuple[int, ...]:
    return tuple(number for number in _FEWER_SEQUENCES if number < sequences)


def _flag_changes(evaluator: Evaluator, outcome: Outcome) -> Iterator[tuple[Setting, str]]:
    """Yield settings that change one flag, the least painful first."""
    setting, model = outcome.setting, evaluator.subject.model
    if setting.max_model_len > model.max_model_len:
        shorter = replace(setting, max_model_len=model.max_model_len)
        yield shorter, f"--max-model-len {model.max_model_len}, the model's longest, fits"
    if outcome.refused or outcome.kv + outcome.activation + (1 - setting.utilization) * outcome.budget < 0:
        return  # the weights alone are too much for any flag
    for part in (2, 4, 8, 16):
        length = setting.max_model_len // part
        if length >= evaluator.request.prompt_tokens + evaluator.request.output_tokens:
            yield replace(setting, max_model_len=length), f"--max-model-len {length} fits"
    for sequences in _fewer(setting.max_num_seqs):
        yield replace(setting, max_num_seqs=sequences), f"--max-num-seqs {sequences} fits"
    if setting.utilization < _HIGH_UTILIZATION:
        more = replace(setting, utilization=_HIGH_UTILIZATION)
        yield more, f"--gpu-memory-utilization {_HIGH_UTILIZATION} fits"
    if setting.kv_dtype == "auto":
        yield replace(setting, kv_dtype="fp8"), "--kv-cache-dtype fp8 fits"
    if not setting.eager and outcome.overhead.graphs:
        yield replace(setting, eager=True), "--enforce-eager fits (no CUDA graphs: slower)"


def _fp8_weights(evaluator: Evaluator, target: Target, outcome: Outcome) -> str | None:
    if evaluator.subject.quantization.quantized or outcome.refused:
        return None
    fits = _fits(evaluator.online, target, outcome.setting)  # refused where the GPU has no FP8
    return "--quantization fp8 (half the weights) fits" if fits else None


def _more_gpus(evaluator: Evaluator, target: Target, outcome: Outcome) -> str | None:
    split = outcome.setting.split
    heads = evaluator.subject.model.attentions
    for tp in range(split.tp + 1, _MOST_TP + 1):
        if any(it.heads % tp for it in heads):
            continue
        wider = evaluator.split(Split(tp, split.pp))
        if evaluator.refused_split(target, wider):
            continue
        if evaluator.evaluate(target, replace(outcome.setting, split=wider)).fits:
            return f"tensor_parallel {tp} ({tp * split.pp} × {target.gpu.name}) fits"
    return None


def _other_gpu(evaluator: Evaluator, catalogue: Catalogue, target: Target, outcome: Outcome) -> str | None:
    larger = [
        gpu for gpu in catalogue.gpus if gpu.usable_gib > target.gpu.usable_gib and gpu.vendor == target.gpu.vendor
    ]
    for gpu in sorted(larger, key=lambda gpu: gpu.usable_gib):
        if _fits(evaluator, replace(target, gpu=gpu), outcome.setting):
            return f"{gpu.name} ({gpu.usable_gib:.0f} GiB) in place of {target.gpu.name} fits"
    return None


def checked_request(request: PlanRequest) -> PlanRequest:
    """Return the request if its numbers agree with one another. Raises Invalid naming the field."""
    tp, pp, gpus = request.tensor_parallel, request.pipeline_parallel, request.gpus
    if gpus is not None and (tp or 1) * (pp or 1) > gpus:
        raise Invalid(
            f"tensor_parallel {tp or 1} × pipeline_parallel {pp or 1} needs more than {gpus} GPUs.", field="gpus"
        )
    if gpus is not None and tp is not None and pp is not None and gpus % (tp * pp):
        raise Invalid(f"{gpus} GPUs are no multiple of {tp} × {pp}.", field="gpus")
    if (
        request.max_num_batched_tokens
        and request.max_num_seqs
        and request.max_num_batched_tokens < request.max_num_seqs
    ):
        raise Invalid(
            "max_num_batched_tokens is below max_num_seqs; vLLM refuses that.", field="max_num_batched_tokens"
        )
    return request
