"""A model of random numbers that vLLM serves: a Llama of two layers, with a tokenizer of bytes."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

WIDTH, LAYERS, HEADS, INNER = 64, 2, 2, 128  # heads of 32: vLLM on CPU has none of 16


def make_model(folder: Path) -> Path:
    """Write it, some 400 kB, readable for everybody; return the folder."""
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER))
    (folder / "config.json").write_text(json.dumps(_config(len(vocabulary))))
    save_file(_weights(len(vocabulary)), str(folder / "model.safetensors"), metadata={"format": "pt"})
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
}


def _config(words: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "head_dim": WIDTH // HEADS,
        "vocab_size": words,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
    }


def _weights(words: int) -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (words, WIDTH),
        "lm_head.weight": (words, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        shapes |= {f"{name}.self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        shapes |= {f"{name}.mlp.{part}_proj.weight": (INNER, WIDTH) for part in ("gate", "up")}
        shapes[f"{name}.mlp.down_proj.weight"] = (WIDTH, INNER)
        shapes |= {f"{name}.{part}_layernorm.weight": (WIDTH,) for part in ("input", "post_attention")}
    return {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
