from collections.abc import Callable

import pytest
from train_lm.data import Prepared
from train_lm.errors import UsageProblem
from train_lm.options import parser, settings
from train_lm.settings import PRESETS, Settings


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_model(prepared: Prepared, preset: str) -> None:
    shape = settings(parser().parse_args(["--preset", preset]), prepared).model
    assert shape.head_dim * shape.num_attention_heads == shape.hidden_size
    assert shape.vocab_size == 512


def test_an_option_changes_the_preset(prepared: Prepared) -> None:
    given = ["--preset", "small", "--layers", "3", "--width", "128", "--heads", "2", "--kv-heads", "1"]
    given += ["--no-tied", "--feed-forward", "99"]
    shape = settings(parser().parse_args(given), prepared).model
    assert (shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads) == (3, 128, 2)
    assert (shape.head_dim, shape.intermediate_size, shape.tie_word_embeddings) == (64, 99, False)


def test_a_width_that_heads_do_not_divide_is_refused(tiny: Callable[..., Settings]) -> None:
    with pytest.raises(UsageProblem, match="--width 100 is not a multiple of --heads 3"):
        tiny("--width", "100", "--heads", "3")


@pytest.mark.parametrize("wrong", ["--steps=0", "--batch=-1", "--dropout=1.5", "--learning-rate=x", "--no-such=1"])
def test_a_wrong_option_is_a_usage_error(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([wrong])
    assert ended.value.code == 2
    assert wrong.split("=", maxsplit=1)[0] in capsys.readouterr().err
