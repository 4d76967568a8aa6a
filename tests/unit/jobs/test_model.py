import pytest
import torch
from train_lm.errors import UsageProblem
from train_lm.model import Llama, ModelConfig


def config(**changes: object) -> ModelConfig:
    shape = {
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 48,
    }
    return ModelConfig(**(shape | changes))  # type: ignore[arg-type]


@pytest.fixture
def model() -> Llama:
    torch.manual_seed(0)
    return Llama(config()).eval()


def test_it_gives_a_logit_for_each_token_of_the_vocabulary(model: Llama) -> None:
    assert model(torch.randint(300, (3, 7))).shape == (3, 7, 300)


def test_a_token_sees_only_those_before_it(model: Llama) -> None:
    tokens = torch.randint(300, (1, 10))
    changed = tokens.clone()
    changed[0, 6] = (changed[0, 6] + 1) % 300
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_order_matters(model: Llama) -> None:
    assert not torch.allclose(model(torch.tensor([[5, 9, 7]]))[0, -1], model(torch.tensor([[9, 5, 7]]))[0, -1])


def test_a_tied_head_is_one_matrix() -> None:
    tied, untied = Llama(config()), Llama(config(tie_word_embeddings=False))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert untied.parameter_count() - tied.parameter_count() == 300 * 64


def test_decoding_from_the_cache_gives_the_logits_of_a_whole_pass(model: Llama) -> None:
    tokens = torch.randint(300, (2, 9))
    caches = model.new_caches()
    model(tokens[:, :5], caches=caches)
    for at in range(5, 9):
        positions = torch.tensor([[at]])
        see_all = torch.ones(1, 1, 1, at + 1, dtype=torch.bool)
        logits = model(tokens[:, at : at + 1], positions, see_all, caches)
        torch.testing.assert_close(logits[:, 0], model(tokens[:, : at + 1])[:, -1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"num_attention_heads": 3, "num_key_value_heads": 2}, "--kv-heads"), ({"head_dim": 48}, "not served by vLLM")],
)
def test_a_shape_that_cannot_be_built_or_served_is_refused(change: dict[str, int], says: str) -> None:
    with pytest.raises(UsageProblem, match=says):
        config(**change)
