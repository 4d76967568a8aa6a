"""Model directories made on disk: a config.json and safetensors files with real headers and holes for data."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raysvc.planner.safetensors import INDEX, SINGLE, Tensor

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}


def parse(lines: Iterable[str]) -> list[Tensor]:
    """Return the tensors of a golden file's lines, `name dtype AxB`."""
    tensors = []
    for line in lines:
        name, dtype, shape = line.split(" ")
        tensors.append(Tensor(name, dtype, tuple(int(size) for size in shape.split("x") if size)))
    return tensors


def llama_tensors(config: Mapping[str, Any] = LLAMA, dtype: str = "BF16") -> list[Tensor]:
    """Return what a Llama checkpoint of this config holds."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    kv = hidden // heads * kv_heads
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    tensors = [Tensor("model.embed_tokens.weight", dtype, (config["vocab_size"], hidden))]
    for layer in range(config["num_hidden_layers"]):
        tensors += [Tensor(f"model.layers.{layer}.{key}.weight", dtype, shape) for key, shape in shapes.items()]
    tensors.append(Tensor("model.norm.weight", dtype, (hidden,)))
    tensors.append(Tensor("lm_head.weight", dtype, (config["vocab_size"], hidden)))
    return tensors


def write(folder: Path, config: Mapping[str, Any], tensors: list[Tensor], shards: int = 1) -> Path:
    """Write the model; more shards than one come with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        _file(folder / SINGLE, tensors)
        return folder
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = tensors[number::shards]
        _file(folder / name, part)
        weight_map |= {tensor.name: name for tensor in part}
    size = sum(tensor.nbytes for tensor in tensors)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}))
    return folder


def _file(path: Path, tensors: list[Tensor]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + offset)
