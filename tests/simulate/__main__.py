"""Run many seeds, or show one.

    python -m tests.simulate --seeds 100000 [--from N] [--jobs 2]     seeds/s; for each that fails, how to replay it
    python -m tests.simulate --seed N                                 the trace of one, always the same
    python -m tests.simulate --seed N --shrink                        the same with as few operations as still fail

What is proven: after any history of the plans that `tests.simulate.plan` draws, every accepted job exists once and
has ended in its true state, for a reason that fits what happened on the cluster; no attempt was started twice, no
two attempts of a job ran at once, a stop won or the job had ended, nothing is left on the cluster, logs are whole,
records are the folds of their events, retries and limits were kept. Exit 1 where a seed fails.
"""

import argparse
import gc
import multiprocessing
import sys
import time

from tests.simulate.plan import Plan, draw
from tests.simulate.run import carry_out, failing, paced, smaller

CHUNK = 200
SHOWN = 10


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def replay(plan: Plan) -> str:
    """Return the command that shows a seed."""
    return f"python -m tests.simulate --seed {plan.seed} --shrink"


def many(first: int, count: int, jobs: int) -> int:
    """Run the seeds, in so many processes; say how fast, and which fail. Return how many fail."""
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    began, bad = time.monotonic(), 0
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=gc.disable) as pool:
        for outcomes in pool.imap(failing, chunks):
            for outcome in outcomes[: max(0, SHOWN - bad)]:
                say(f"seed {outcome.plan.seed}: {'; '.join(outcome.wrongs)}\n    {replay(outcome.plan)}")
            bad += len(outcomes)
    seconds = time.monotonic() - began
    say(f"{count} seeds from {first} in {seconds:.1f} s, {count / seconds:.0f} seeds/s: {bad} fail")
    return bad


def one(seed: int, *, shrink: bool) -> int:
    """Say what happens in one seed, line by line; return how much is wrong in it."""
    with paced() as said:
        plan = draw(seed)
        if shrink and carry_out(plan, said).wrongs:
            plan = smaller(plan, said)
        outcome = carry_out(plan, said, trace=True)
    say(f"seed {plan.seed}: {plan.servers} servers, {plan.slots} slots, faults {plan.kinds or 'none by chance'}")
    steps = "two steps" if plan.two_steps else "one step"
    say(f"limits {plan.limits}, {steps}, start {plan.startup_s} s, stop {plan.stop_s} s, latency to {plan.latency_s} s")
    for line in (*outcome.trace, *(f"WRONG: {wrong}" for wrong in outcome.wrongs)):
        say(line)
    say(f"seed {seed}: {len(outcome.wrongs) or 'nothing'} wrong, {outcome.seconds:.0f} s of virtual time")
    return len(outcome.wrongs)


def main(arguments: list[str]) -> int:
    """Return 0 where all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="show this one")
    parser.add_argument("--shrink", action="store_true", help="leave out what it fails without")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return min(1, one(options.seed, shrink=options.shrink))
    return min(1, many(options.first, options.seeds, options.jobs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
