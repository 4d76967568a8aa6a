import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_lm import export
from train_lm.data import Prepared
from train_lm.errors import UsageProblem
from train_lm.model import Llama

TOKENS = [[5, 77, 300, 12, 9, 450, 33]]


@pytest.fixture(params=["--tied", "--no-tied"])
def exported(request: Any, tmp_path: Path, tiny: Any, prepared: Prepared) -> tuple[Path, Llama]:
    torch.manual_seed(3)
    model = Llama(tiny(request.param).model).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)  # far from the initial values, which hide mistakes
    export.save(tmp_path / "out" / "model", model, prepared.tokenizer)
    return tmp_path / "out" / "model", model


# A process of its own: transformers warns of its dependencies' ways as it is imported.
_READER = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, tokens = sys.argv[1], json.loads(sys.argv[2])
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
encoded = tokenizer("The class, é", return_tensors="pt")
made = model.generate(**encoded, max_new_tokens=5, do_sample=False)
chat = tokenizer.apply_chat_template([{"role": "user", "content": text} for text in ("Hello", "You")], tokenize=False)
print(json.dumps({
    "kind": type(model).__name__,
    "logits": model(torch.tensor(tokens)).logits.tolist(),
    "ids": encoded["input_ids"][0].tolist(),
    "text": tokenizer.decode(encoded["input_ids"][0]),
    "made": made[0, encoded["input_ids"].shape[1]:].tolist(),
    "chat": chat,
    "special": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
}))
"""


def test_transformers_loads_it_and_computes_the_same(exported: tuple[Path, Llama], prepared: Prepared) -> None:
    folder, model = exported
    reader = subprocess.run(
        [sys.executable, "-c", _READER, str(folder), json.dumps(TOKENS)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(folder)},
    )
    assert reader.returncode == 0, reader.stderr
    read = json.loads(reader.stdout.splitlines()[-1])
    assert read["kind"] == "LlamaForCausalLM"
    torch.testing.assert_close(torch.tensor(read["logits"]), model(torch.tensor(TOKENS)), atol=1e-4, rtol=1e-4)
    assert read["ids"] == prepared.tokenizer.encode("The class, é").ids
    assert read["text"] == "The class, é"
    assert 0 < len(read["made"]) <= 5
    assert read["chat"] == "Hello\n\nYou"
    assert read["special"] == [0, 0, 1]


def test_what_is_saved_is_loaded(exported: tuple[Path, Llama], prepared: Prepared) -> None:
    folder, model = exported
    for place in (folder, folder.parent):  # the model itself, or the job's output folder
        loaded, tokenizer = export.load(place)
        assert torch.equal(loaded(torch.tensor(TOKENS)), model(torch.tensor(TOKENS)))
        assert tokenizer.to_str() == prepared.tokenizer.to_str()


def test_an_export_replaces_the_one_before(exported: tuple[Path, Llama], prepared: Prepared) -> None:
    folder, model = exported
    (folder / "stale").touch()
    export.save(folder, model, prepared.tokenizer)
    assert not (folder / "stale").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:1000])


def _other_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [(_without_weights, "holds no model"), (_cut_weights, "not a model that train_lm wrote"), (_other_kind, "gpt2")],
)
def test_a_folder_that_is_no_model_is_refused(
    exported: tuple[Path, Llama], harm: Callable[[Path], None], says: str
) -> None:
    folder, _ = exported
    harm(folder)
    with pytest.raises(UsageProblem, match=says):
        export.load(folder)
