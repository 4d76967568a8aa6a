from collections.abc import Callable

import pytest
import torch
from train_lm.data import Prepared
from train_lm.errors import UsageProblem
from train_lm.generate import Sampling, complete
from train_lm.model import Llama
from train_lm.settings import Settings

GREEDY = Sampling(max_tokens=8, temperature=0)


@pytest.fixture
def model(tiny: Callable[..., Settings]) -> Llama:
    torch.manual_seed(1)
    model = Llama(tiny("--no-tied").model)
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)  # so that the likeliest token stands out
    return model.eval()


def test_prompts_of_different_lengths_are_completed_as_if_alone(model: Llama, prepared: Prepared) -> None:
    prompts = ["A", "The import statement of a module", "x = y"]
    together = complete(model, prepared.tokenizer, prompts, GREEDY)
    alone = [complete(model, prepared.tokenizer, [prompt], GREEDY)[0] for prompt in prompts]
    assert together == alone
    assert all(0 < len(tokens) <= 8 for tokens in together)


def test_greedy_takes_the_likeliest_token_of_a_whole_pass(model: Llama, prepared: Prepared) -> None:
    tokens = prepared.tokenizer.encode("The class").ids
    for expected in complete(model, prepared.tokenizer, ["The class"], GREEDY)[0]:
        assert int(model(torch.tensor([tokens]))[0, -1].argmax()) == expected
        tokens.append(expected)


def test_a_seed_gives_the_same_text_and_another_seed_another(model: Llama, prepared: Prepared) -> None:
    def draw(seed: int) -> list[list[int]]:
        return complete(model, prepared.tokenizer, ["The"], Sampling(max_tokens=16, temperature=2.0, seed=seed))

    assert draw(1) == draw(1) != draw(2)


def test_a_long_prompt_loses_its_beginning(model: Llama, prepared: Prepared) -> None:
    long = "The import statement " * 50
    room = model.config.max_position_embeddings - GREEDY.max_tokens
    kept = prepared.tokenizer.decode(prepared.tokenizer.encode(long).ids[-room:])
    assert complete(model, prepared.tokenizer, [long], GREEDY) == complete(model, prepared.tokenizer, [kept], GREEDY)


def test_more_new_tokens_than_the_context_holds_are_refused(model: Llama, prepared: Prepared) -> None:
    with pytest.raises(UsageProblem, match="do not fit"):
        complete(model, prepared.tokenizer, ["The"], Sampling(max_tokens=32))
