"""Why a candidate is as it is, in words for people."""

from raysvc.domain.plan import Confidence
from raysvc.planner.evaluate import Evaluator, Outcome
from raysvc.planner.overhead import GIB
from raysvc.planner.rules import half_precision
from raysvc.planner.speed import Speed
from raysvc.planner.target import Target

# A context that was left open and is cut below this fits, but is not proposed.
USEFUL_CONTEXT = 32_768


def explain(
    evaluator: Evaluator, target: Target, outcome: Outcome, speed: Speed | None, replicas: int
) -> tuple[str, ...]:
    """Return why this candidate is as it is: the sum, the verdict, what was chosen, the price, the doubts."""
    reasons = [f"vLLM refuses: {reason}" for reason in outcome.refused]
    reasons.append(_budget(target, outcome))
    reasons.append(_verdict(outcome))
    reasons += _choices(evaluator, target, outcome, replicas)
    if speed is not None and outcome.fits:
        request = evaluator.request
        reasons.append(
            f"speed is estimated from bandwidth and FLOPS: {speed.sequences} sequences at once of "
            f"{request.prompt_tokens} prompt and {request.output_tokens} generated tokens; "
            f"{speed.ttft_s:.2f} s to a first token"
        )
    reasons += _price(target)
    reasons += _doubts(evaluator, target, outcome)
    return tuple(reasons)


def _budget(target: Target, outcome: Outcome) -> str:
    it = outcome.overhead
    graphs = f" − {gib(it.graphs)} CUDA graphs" if it.graphs else ""
    return (
        f"{outcome.setting.utilization:g} × {target.gpu.usable_gib:g} GiB − {gib(outcome.weights)} weights − "
        f"{gib(outcome.activation)} activation{graphs} − {gib(it.non_torch)} outside torch = "
        f"{gib(outcome.kv)} GiB for KV"
    )


def _verdict(outcome: Outcome) -> str:
    needed, length = gib(outcome.pool.needed_bytes), outcome.setting.max_model_len
    if outcome.kv <= 0:
        return f"does not fit: {gib(-outcome.kv)} GiB short before any KV cache"
    if outcome.short_bytes <= 0:
        return f"one request of {length:,} tokens needs {needed} GiB"
    short = outcome.pool.needed_bytes - outcome.kv
    if short > 0:
        return (
            f"does not fit: one request of {length:,} tokens needs {needed} GiB of KV, {gib(short)} more than there is"
        )
    return (
        f"not promised: {gib(-short)} GiB would be left beside one request of {length:,} tokens, "
        f"less than this estimate's margin of {outcome.margin_gib} GiB"
    )


def _choices(evaluator: Evaluator, target: Target, outcome: Outcome, replicas: int) -> list[str]:
    request, setting, model = evaluator.request, outcome.setting, evaluator.subject.model
    reasons = []
    if request.max_model_len is None and setting.max_model_len < model.max_model_len:
        reasons.append(
            f"max_model_len cut from {model.max_model_len:,} to {setting.max_model_len:,}, the longest that fits"
        )
    if request.max_model_len is None and setting.max_model_len < min(USEFUL_CONTEXT, model.max_model_len):
        reasons.append(f"a context below {USEFUL_CONTEXT:,} tokens is not proposed unless it is asked for")
    default = evaluator.engine.on(target.gpu).default_seqs(target.gpu)
    if request.max_num_seqs is None and setting.max_num_seqs != default:
        reasons.append(
            f"max_num_seqs lowered from {default} to {setting.max_num_seqs}: "
            "the sampler's warm-up takes memory for each"
        )
    if setting.split.expert_parallel and request.expert_parallel is None:
        reasons.append("experts stay whole: their quantization blocks do not divide by tensor_parallel")
    if setting.split.tp > 1 and not target.fast_links:
        reasons.append("no NVLink: tensor parallelism runs over PCIe, slower than the memory that it adds is worth")
    if setting.split.pp > 1 and setting.split.tp * setting.split.pp > target.per_node:
        link = "RDMA" if target.rdma else "plain Ethernet"
        reasons.append(f"pipeline stages lie on different machines, over {link}")
    if replicas > 1:
        reasons.append(f"{replicas} replicas share the {replicas * setting.split.tp * setting.split.pp} GPUs")
    if half_precision(target.gpu):
        reasons.append(f"{target.gpu.name} has no bfloat16: float16 is used")
    return reasons


def _price(target: Target) -> list[str]:
    reasons = [target.price_note] if target.price_note else []
    if target.stale and target.as_of is not None:
        reasons.append(f"the price is of {target.as_of.isoformat()} and stale: look it up before relying on it")
    return reasons


def _doubts(evaluator: Evaluator, target: Target, outcome: Outcome) -> list[str]:
    subject, engine = evaluator.subject, evaluator.engine
    doubts = list(subject.model.notes)
    if not subject.weights.exact:
        doubts.append("weights are worked out from the config, not read from safetensors headers")
    if not engine.listed:
        doubts.append(f"{engine.label} is not in the table of releases; the nearest, {engine.release.since}, was used")
    if not target.gpu.measured:
        doubts.append(f"usable memory of {target.gpu.name} is an estimate, not read from a log")
    if outcome.confidence is not Confidence.HIGH and subject.model.hybrid:
        doubts.append("few starts of hybrid models were available to check the overhead against")
    return doubts


def gib(nbytes: float) -> float:
    """Return bytes as GiB, as people read them."""
    return round(nbytes / GIB, 2)
