"""An outcome as the candidate that people and programs read: rounded, priced, with its flags."""

from raysvc.domain.plan import Candidate
from raysvc.planner.evaluate import Evaluator, Outcome
from raysvc.planner.reasons import USEFUL_CONTEXT, explain, gib
from raysvc.planner.rules import half_precision
from raysvc.planner.speed import Load, Site, Speed, cold_start_s, estimate_speed
from raysvc.planner.target import Target

_SEQUENCES = 256  # at most so many at once are priced, where nobody said how many
_LEAST_PRICED = 1


def to_candidate(evaluator: Evaluator, target: Target, outcome: Outcome, change: str | None) -> Candidate:
    """Return the candidate of an outcome; `change` is the nearest change where it does not fit."""
    setting = outcome.setting
    ranks = setting.split.tp * setting.split.pp
    gpus = _gpus(evaluator, target, ranks)
    replicas = max(1, gpus // ranks)
    speed = _speed(evaluator, target, outcome)
    hourly = target.usd_per_hour(gpus)
    per_second = speed.tokens_per_second * replicas if speed is not None else None
    meets = outcome.fits and _meets(evaluator, outcome, speed, replicas)
    return Candidate(
        fits=outcome.fits,
        gpu=target.gpu.name,
        gpus=gpus,
        tensor_parallel=setting.split.tp,
        pipeline_parallel=setting.split.pp,
        max_model_len=setting.max_model_len,
        max_num_seqs=setting.max_num_seqs,
        gpu_memory_utilization=setting.utilization,
        engine=evaluator.engine.label,
        weights_gib_per_gpu=gib(outcome.weights),
        activation_gib=gib(outcome.activation),
        non_torch_gib=gib(outcome.overhead.non_torch),
        kv_available_gib=gib(outcome.kv),
        kv_bytes_per_token_per_gpu=outcome.token_bytes,
        kv_tokens=outcome.pool.tokens,
        concurrency=round(outcome.pool.concurrency, 2),
        cold_start_s=_cold_start(evaluator, outcome),
        usd_per_hour=round(hourly, 4) if hourly is not None else None,
        usd_per_million_tokens=_per_million(hourly, per_second) if outcome.fits else None,
        confidence=outcome.confidence,
        reasons=explain(evaluator, target, outcome, speed, replicas),
        flags=_flags(evaluator, target, outcome),
        provider=target.provider,
        sku=target.sku,
        quantization=evaluator.subject.quantization.label,
        replicas=replicas,
        nodes=-(-gpus // target.per_node),
        max_num_batched_tokens=setting.tokens,
        graphs_gib=gib(outcome.overhead.graphs),
        kv_needed_gib=gib(outcome.pool.needed_bytes),
        tokens_per_second=round(per_second, 1) if per_second is not None and outcome.fits else None,
        ttft_s=round(speed.ttft_s, 3) if speed is not None else None,
        meets=meets,
        nearest_change=change,
        price_as_of=target.as_of,
        price_stale=target.stale,
    )


def _gpus(evaluator: Evaluator, target: Target, ranks: int) -> int:
    """Return the GPUs that are paid for: whole machines where machines are rented, else what was named or is needed."""
    if target.machine_usd is not None:
        return -(-ranks // target.per_node) * target.per_node
    return evaluator.request.gpus or ranks


def _speed(evaluator: Evaluator, target: Target, outcome: Outcome) -> Speed | None:
    request, setting = evaluator.request, outcome.setting
    average = request.prompt_tokens + request.output_tokens // 2
    held = int(outcome.pool.tokens / average) if outcome.pool.tokens > 0 else 0
    sequences = min(setting.max_num_seqs, request.concurrency or _SEQUENCES, max(held, _LEAST_PRICED))
    if outcome.kv <= 0:
        return None
    site = Site(target.gpu, setting.split, outcome.token_bytes, fast_links=target.fast_links, eager=setting.eager)
    load = Load(sequences, request.prompt_tokens, request.output_tokens)
    return estimate_speed(evaluator.subject.model, evaluator.subject.weights, site, load)


def _meets(evaluator: Evaluator, outcome: Outcome, speed: Speed | None, replicas: int) -> bool:
    """Say whether the concurrency and the TTFT asked for are met, with a context that is of use."""
    request = evaluator.request
    if request.max_model_len is None and outcome.setting.max_model_len < min(
        USEFUL_CONTEXT, evaluator.subject.model.max_model_len
    ):
        return False
    if request.concurrency is not None:
        length = min(request.prompt_tokens + request.output_tokens, outcome.setting.max_model_len)
        held = int(outcome.pool.concurrency * outcome.setting.max_model_len / length)
        if min(held, outcome.setting.max_num_seqs) * replicas < request.concurrency:
            return False
    return request.slo_ttft_s is None or (speed is not None and speed.ttft_s <= request.slo_ttft_s)


def _cold_start(evaluator: Evaluator, outcome: Outcome) -> float:
    subject, setting = evaluator.subject, outcome.setting
    compiled = not setting.eager and evaluator.engine.release.runner == "v1"
    seconds = cold_start_s(
        subject.model, subject.weights, graphs=outcome.graphs, compiled=compiled, remote=subject.remote
    )
    return round(seconds, 1)


def _per_million(hourly: float | None, per_second: float | None) -> float | None:
    if hourly is None or not per_second:
        return None
    return round(hourly / (per_second * 3600) * 1e6, 4)


def _flags(evaluator: Evaluator, target: Target, outcome: Outcome) -> tuple[str, ...]:
    """Return the arguments of `vllm serve`, every size written out: a later release's default would change the fit."""
    setting, request = outcome.setting, evaluator.request
    flags = [
        f"--tensor-parallel-size={setting.split.tp}",
        f"--pipeline-parallel-size={setting.split.pp}",
        f"--max-model-len={setting.max_model_len}",
        f"--max-num-seqs={setting.max_num_seqs}",
        f"--max-num-batched-tokens={setting.tokens}",
        f"--gpu-memory-utilization={setting.utilization:g}",
    ]
    flags += [f"--kv-cache-dtype={setting.kv_dtype}"] if request.kv_cache_dtype != "auto" else []
    flags += ["--enable-expert-parallel"] if setting.split.expert_parallel else []
    flags += ["--enforce-eager"] if setting.eager else []
    flags += [f"--quantization={request.quantization}"] if request.quantization else []
    flags += ["--dtype=half"] if half_precision(target.gpu) else []
    flags += ["--no-enable-prefix-caching"] if not request.prefix_caching else []
    many = setting.split.tp * setting.split.pp > target.per_node
    flags += ["--distributed-executor-backend=ray"] if many else []
    heads = evaluator.subject.model.vision_heads
    flags += ["--mm-encoder-tp-mode=data"] if heads and heads % setting.split.tp else []
    return tuple(flags)
