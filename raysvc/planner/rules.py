"""What vLLM refuses before it allocates anything: divisibility, compute capability, pipeline support."""

from collections.abc import Iterator

from raysvc.planner.architecture import Architecture, Attention, State
from raysvc.planner.catalogue import Gpu
from raysvc.planner.family import STATE_ONLY
from raysvc.planner.quantization import Quantization, Scheme
from raysvc.planner.weights import VOCAB_PADDING, Split

_BF16_CAPABILITY = 8.0
_MXFP4 = "mxfp4"


def refusals(model: Architecture, quantization: Quantization, gpu: Gpu, split: Split) -> tuple[str, ...]:
    """Return why vLLM would not start, each with the field at fault; empty where it would."""
    found = [
        *_dimensions(model, split),
        *_quantized(model, quantization, split),
        *_hardware(quantization, gpu),
        *_pipeline(model, split),
        *_windows(model),
    ]
    return tuple(dict.fromkeys(found))


def needs_expert_parallel(model: Architecture, quantization: Quantization, split: Split) -> bool:
    """Say whether experts must stay whole: TP divides their width, but cuts quantization blocks (MiniMax-M2)."""
    widths = {layer.experts.width for layer in model.distinct if layer.experts is not None}
    step = _step(quantization.scheme)
    return split.tp > 1 and step > 1 and any(width % (split.tp * step) and not width % step for width in widths)


def expert_growth(model: Architecture, quantization: Quantization, gpu: Gpu, split: Split) -> float:
    """Return by how much MXFP4 kernels pad expert matrices.

    vllm/model_executor/layers/fused_moe/oracle/mxfp4.py: Marlin and TRT-LLM round the width to 128 and the hidden
    size to 256 (gpt-oss-120b: 60.9 GiB on disk, 65.97 loaded, 65.98 by this); on Hopper Triton's layout takes 6 %
    (64.38 seen, 64.4): its values are padded as the hidden size is, its scales are not.
    """
    if quantization.scheme.name != _MXFP4 or not model.moe:
        return 1.0
    width = max(layer.experts.width for layer in model.distinct if layer.experts is not None)
    width = width if split.expert_parallel else -(-width // split.tp)
    hidden_step, width_step = (256, 256) if gpu.vendor == "amd" else (256, 128)
    hidden = -(-model.hidden // hidden_step) * hidden_step / model.hidden
    if int(gpu.capability) == 9 and gpu.vendor == "nvidia":  # noqa: PLR2004 Hopper
        return 1 + (hidden - 1) * 16 / 17  # 16 bytes of values to one of scales
    return hidden * (-(-width // width_step) * width_step / width)


def half_precision(gpu: Gpu) -> bool:
    """Say whether the GPU lacks bfloat16, so that the engine must be told --dtype half."""
    return gpu.vendor == "nvidia" and gpu.capability < _BF16_CAPABILITY


def _dimensions(model: Architecture, split: Split) -> Iterator[str]:
    tp = split.tp
    for it in model.attentions:
        yield from _heads(it, tp)
    for state in [layer.state for layer in model.distinct if layer.state is not None]:
        yield from _state(state, tp)
    padded = -(-model.vocab // VOCAB_PADDING) * VOCAB_PADDING
    if padded % tp:
        yield f"tensor_parallel {tp} does not divide the vocabulary of {padded} rows"
    for layer in model.distinct:
        if layer.mlp is not None and layer.mlp.width % tp:
            yield f"tensor_parallel {tp} does not divide the MLP width {layer.mlp.width}"
        experts = layer.experts
        if experts is not None and experts.width % tp and not split.expert_parallel:
            yield f"tensor_parallel {tp} does not divide the expert width {experts.width}"


def _heads(it: Attention, tp: int) -> Iterator[str]:
    if it.heads % tp:
        yield f"tensor_parallel {tp} does not divide {it.heads} attention heads"
    elif it.latent is None and it.kv_heads % tp and tp % it.kv_heads:
        yield f"tensor_parallel {tp} neither divides {it.kv_heads} key/value heads nor is a multiple of them"


def _state(it: State, tp: int) -> Iterator[str]:
    if it.inner % tp or (it.heads % tp and it.heads > 1):
        yield f"tensor_parallel {tp} does not divide {it.heads} state heads of width {it.inner}"
    elif it.kind == "gdn" and it.groups % tp:
        yield f"tensor_parallel {tp} does not divide {it.groups} linear-attention key heads"
    elif it.kind == "mamba2" and it.groups % tp and it.groups != 1:
        yield f"tensor_parallel {tp} does not divide {it.groups} Mamba groups"


def _quantized(model: Architecture, quantization: Quantization, split: Split) -> Iterator[str]:
    """Yield quantization blocks that a slice of a row-parallel matrix would cut through."""
    step, tp = _step(quantization.scheme), split.tp
    if tp == 1 or step <= 1 or quantization.experts_only:
        return
    name = quantization.scheme.name
    layers = (
        enumerate(model.layers) if quantization.layered else ((model.layers.index(it), it) for it in model.distinct)
    )
    for index, layer in layers:
        if (
            layer.mlp is not None
            and _cuts(layer.mlp.width, tp, step)
            and _applies(quantization, index, "mlp.down_proj")
        ):
            yield f"tensor_parallel {tp} cuts through {name} blocks of {step} in an MLP of width {layer.mlp.width}"
        experts = layer.experts
        if experts is not None and _cuts(experts.width, tp, step) and not split.expert_parallel:
            yield f"tensor_parallel {tp} cuts through {name} blocks of {step} in experts of width {experts.width}"
        it = layer.attention
        width = it.heads * it.value_size if it is not None else 0
        if width and _cuts(width, tp, step) and _applies(quantization, index, "self_attn.o_proj"):
            yield f"tensor_parallel {tp} cuts through {name} blocks of {step} in an attention of width {width}"


def _cuts(width: int, tp: int, step: int) -> bool:
    return width % tp == 0 and width // tp % step != 0 and width % step == 0


def _applies(quantization: Quantization, layer: int, module: str) -> bool:
    return quantization.of(f"model.layers.{layer}.{module}").bits < 16  # noqa: PLR2004 quantized


def _step(scheme: Scheme) -> int:
    if scheme.name == _MXFP4:
        return 1  # its kernels pad instead
    return scheme.block[1] if scheme.block is not None else max(scheme.group, 1)


def _hardware(quantization: Quantization, gpu: Gpu) -> Iterator[str]:
    needed = quantization.scheme.capability
    if gpu.vendor == "nvidia" and gpu.capability < needed:
        yield f"{quantization.label} needs compute capability {needed}, {gpu.name} has {gpu.capability}"


def _pipeline(model: Architecture, split: Split) -> Iterator[str]:
    if split.pp > len(model.layers):
        yield f"pipeline_parallel {split.pp} exceeds {len(model.layers)} layers"
    elif split.pp > 1 and model.model_type in STATE_ONLY:
        yield f"{model.model_type} has no pipeline parallelism in vLLM"


def _windows(model: Architecture) -> Iterator[str]:
    """vllm/model_executor/models/qwen2.py, whose class Qwen3's inherits from: all layers slide, or none."""
    if model.model_type in {"qwen2", "qwen3"} and len({it.window for it in model.attentions}) > 1:
        yield f"{model.model_type} with a sliding window in some of its layers is not supported"
