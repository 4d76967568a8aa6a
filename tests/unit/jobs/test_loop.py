from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_lm import randomness
from train_lm.checkpoint import Checkpoints
from train_lm.data import Prepared
from train_lm.errors import UsageProblem
from train_lm.loop import Outcome, Run
from train_lm.settings import Settings
from train_lm.team import Team

STEPS = 12
OPTIONS = ("--steps", str(STEPS), "--checkpoint-every", "4", "--log-every", "1", "--eval-every", "6", "--warmup", "3")
Make = Callable[..., Settings]


class Crash(Exception):
    """Stands for a process that dies in the middle of a step's report."""


@pytest.fixture
def run(tmp_path: Path, prepared: Prepared, said: list[str]) -> Callable[..., tuple[Outcome, dict[int, Any]]]:
    """Run, in a folder of the test's, and return the outcome and each step's line of metrics."""

    def go(settings: Settings, folder: str, **more: Any) -> tuple[Outcome, dict[int, Any]]:
        lines: dict[int, Any] = {}
        crash_at = more.pop("crash_at", None)

        def report(line: dict[str, Any]) -> None:
            if line["step"] == crash_at:
                raise Crash
            lines[line["step"]] = line

        checkpoints = Checkpoints(tmp_path / folder, keep=settings.keep, say=said.append)
        worker = Run(settings, prepared.tokens, Team(), checkpoints=checkpoints, report=report, **more)
        return worker.train(), lines

    return go


def state(tmp_path: Path, folder: str) -> dict[str, Any]:
    found = Checkpoints(tmp_path / folder).newest()
    assert found is not None
    return found.load()


def losses(lines: dict[int, Any]) -> dict[int, float]:
    return {step: line["loss"] for step, line in lines.items()}


def test_it_learns(run: Any, tiny: Make) -> None:
    outcome, lines = run(tiny(*OPTIONS, "--learning-rate", "0.01"), "a")
    assert outcome == Outcome(STEPS, lines[STEPS]["loss"], lines[STEPS]["eval_loss"], stopped=False)
    assert lines[1]["loss"] > 6.2  # ln 512: it knows nothing yet
    assert lines[STEPS]["loss"] < lines[1]["loss"] - 0.3
    assert lines[6]["eval_loss"] > lines[STEPS]["eval_loss"]
    assert [lines[step]["total_steps"] for step in lines] == [STEPS] * STEPS


@pytest.mark.parametrize("crash_at", [3, 6, 9])
def test_a_run_that_crashed_ends_as_one_that_did_not(run: Any, tiny: Make, tmp_path: Path, crash_at: int) -> None:
    """Crashed before the first checkpoint, between two, and after one; with dropout, so that generators matter."""
    settings = tiny(*OPTIONS, "--dropout", "0.2")
    _, straight = run(settings, "straight")
    with pytest.raises(Crash):
        run(settings, "crashed", crash_at=crash_at)
    torch.rand(99)  # a new process's generators stand elsewhere
    outcome, rest = run(settings, "crashed")
    assert outcome.step == STEPS
    resumed = (crash_at - 1) // 4 * 4
    assert min(rest) == resumed + 1
    assert rest[resumed + 1].get("resumed_from") == (resumed or None)
    assert losses(rest) == pytest.approx({step: loss for step, loss in losses(straight).items() if step in rest})
    one, other = state(tmp_path, "straight"), state(tmp_path, "crashed")
    assert one["position"] == other["position"] == STEPS * settings.batch
    for name, weight in one["model"].items():
        torch.testing.assert_close(weight, other["model"][name], rtol=0, atol=1e-6)


def test_without_its_generators_it_would_end_elsewhere(run: Any, tiny: Make, tmp_path: Path) -> None:
    """So the test above would fail if they were not kept."""
    settings = tiny(*OPTIONS, "--dropout", "0.2")
    _, straight = run(settings, "straight")
    with pytest.raises(Crash):
        run(settings, "crashed", crash_at=6)
    forgetful = {**state(tmp_path, "crashed"), "generators": [randomness.state()]}
    Checkpoints(tmp_path / "crashed").save(4, forgetful, settings.as_dict())
    _, rest = run(settings, "crashed")
    assert abs(rest[STEPS]["loss"] - straight[STEPS]["loss"]) > 1e-4


def test_a_stop_is_answered_with_a_checkpoint_of_the_last_step(run: Any, tiny: Make, tmp_path: Path) -> None:
    settings = tiny(*OPTIONS)
    stop = tmp_path / "stop"
    _, straight = run(settings, "straight")
    stop.touch()
    outcome, lines = run(settings, "stopped", stop_file=stop)
    assert (outcome.step, outcome.stopped, lines) == (0, True, {})
    assert not stop.exists()
    assert state(tmp_path, "stopped")["step"] == 0
    outcome, rest = run(settings, "stopped", stop_file=stop)
    assert not outcome.stopped
    assert losses(rest) == pytest.approx(losses(straight))


def test_a_finished_run_is_not_trained_again(run: Any, tiny: Make, tmp_path: Path) -> None:
    first, _ = run(tiny(*OPTIONS), "a")
    before = state(tmp_path, "a")["model"]["lm_head.weight"]
    again, lines = run(tiny(*OPTIONS), "a")
    assert (again.step, again.eval_loss, lines) == (STEPS, first.eval_loss, {})
    assert torch.equal(before, state(tmp_path, "a")["model"]["lm_head.weight"])


def test_a_checkpoint_of_another_model_is_refused(run: Any, tiny: Make) -> None:
    run(tiny(*OPTIONS), "a")
    with pytest.raises(UsageProblem, match=r"of another run: model .*Use another checkpoint folder"):
        run(tiny(*OPTIONS, "--layers", "1"), "a")


def test_a_longer_schedule_resumes_and_says_that_it_is_not_exact(run: Any, tiny: Make, said: list[str]) -> None:
    run(tiny(*OPTIONS), "a")
    outcome, lines = run(tiny(*OPTIONS, "--steps", "15"), "a")
    assert outcome.step == 15
    assert sorted(lines) == [13, 14, 15]
    assert said == ["resuming with other settings, so not exactly: steps 12 -> 15"]


def test_evaluation_does_not_disturb_the_run(run: Any, tiny: Make) -> None:
    _, often = run(tiny(*OPTIONS, "--dropout", "0.2", "--eval-every", "1"), "often")
    _, seldom = run(tiny(*OPTIONS, "--dropout", "0.2", "--eval-every", "100"), "seldom")
    assert losses(often) == pytest.approx(losses(seldom))


def test_bf16_learns_too(run: Any, tiny: Make) -> None:
    _, lines = run(tiny(*OPTIONS, "--precision", "bf16", "--learning-rate", "0.01"), "a")
    assert lines[STEPS]["loss"] < lines[1]["loss"] - 0.3


def test_the_learning_rate_rises_then_falls(tiny: Make) -> None:
    settings = tiny("--steps", "100", "--warmup", "10", "--learning-rate", "1", "--final-learning-rate", "0.2")
    rates = [settings.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.6)
    assert rates[100] == pytest.approx(0.2)
