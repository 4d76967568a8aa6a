"""The trained model as Hugging Face keeps one: what vLLM, transformers and `batch_infer` load."""

import json
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from train_lm.contract import sync
from train_lm.data import END_OF_TEXT, PADDING, special_ids
from train_lm.errors import UsageProblem
from train_lm.model import Llama, ModelConfig

# A model of plain text knows no roles: a chat is the text of its messages, which the model continues.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{{ '' if loop.last else '\\n\\n' }}{% endfor %}"


def save(folder: Path, model: Llama, tokenizer: Tokenizer) -> None:
    """Write the model as a whole, or leave what was there."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]  # safetensors holds no tensor twice
    save_file(weights, draft / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(draft / "tokenizer.json"))
    end, padding = special_ids(tokenizer)
    ids = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": padding}
    documents = {
        "config.json": _config(model.config) | ids,
        "generation_config.json": {**ids, "do_sample": True, "temperature": 0.8, "top_k": 40},
        "tokenizer_config.json": _tokenizer_config(model.config),
    }
    for name, value in documents.items():
        (draft / name).write_text(json.dumps(value, indent=2) + "\n")
    for path in (*draft.iterdir(), draft):
        sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    sync(folder.parent)


def locate(folder: Path) -> Path:
    """Return the model's folder: this one, or `model` in it. Raises UsageProblem where there is none."""
    for candidate in (folder, folder / "model"):
        if (candidate / "config.json").is_file() and (candidate / "model.safetensors").is_file():
            return candidate
    message = f"{folder} holds no model: neither it nor its folder 'model' has config.json and model.safetensors."
    raise UsageProblem(message)


def load(folder: Path, device: str = "cpu") -> tuple[Llama, Tokenizer]:
    """Return the model, ready to infer, and its tokenizer.

    `folder` is a model, or a train_lm job's output folder. Raises UsageProblem where it is neither, is incomplete, or
    has an architecture that `model` does not compute.
    """
    folder = locate(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors", device=device)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except (OSError, ValueError, SafetensorError) as problem:
        message = f"{folder} is not a model that train_lm wrote: {problem}"
        raise UsageProblem(message) from problem
    model = Llama(_read_config(config, folder))
    if model.config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights)
    return model.to(device).eval(), tokenizer


def _config(config: ModelConfig) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **asdict(config),
        "rope_parameters": rope,  # transformers 5 reads it here, older ones read rope_theta
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
    }


def _tokenizer_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.max_position_embeddings,
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "pad_token": PADDING,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def _read_config(config: dict[str, Any], folder: Path) -> ModelConfig:
    rope = config.get("rope_parameters") or {}
    if config.get("model_type") != "llama" or rope.get("rope_type", "default") != "default":
        kind = config.get("model_type")
        message = f"{folder} is a {kind!r} model; this program computes Llama with plain rotary positions."
        raise UsageProblem(message)
    known = {field.name for field in fields(ModelConfig)}
    return ModelConfig(**{name: value for name, value in config.items() if name in known})
