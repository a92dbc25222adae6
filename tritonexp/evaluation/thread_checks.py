"""Looks for threads of a candidate's process that work in turns that only replay a graph.

Whoever has something done beside its calls may have a thread wait for its time. Does not cover
native threads that never sleep, of which the kernel tells late, threads that work for less than
MAX_BUSY_US, nor kernels of Linux that do not tell at all, which the record says of its sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.records import Status

# how much longer threads may have been busy in a turn than the baseline's: half of what it takes,
# about, and more than twice what a busy host had honest ones take
MAX_BUSY_US = 500.0
# what was so once is not so each time: the rounds are looked at so often
BUSY_TRIES = 3

# microseconds that each thread has run, by its id
Threads = Mapping[int, float]


def busy_us(before_us: Threads, after_us: Threads, turn_us: float) -> float:
    """How long threads were busy in a turn, from how long each has run before it and after it.

    One that came or went is counted as if it had been so all the time: of what ends nobody tells.
    """
    if before_us.keys() != after_us.keys():
        return turn_us
    return sum(ran_us - before_us[thread] for thread, ran_us in after_us.items())


def check_threads(
    candidate: Lane,
    known: Sequence[Lane],
    take_more: Callable[[Sequence[Lane]], None] = lambda _: None,
) -> None:
    """Raise WorkerFailedError where threads were busy in most turns of a candidate's rounds.

    `known` are lanes of others, for what is usual; `take_more` takes rounds of lanes anew.
    """
    for attempt in range(BUSY_TRIES):
        if attempt:
            for lane in (candidate, *known):
                lane.threads_us.clear()
            take_more([candidate, *known])
            if candidate.failure is not None:
                raise candidate.failure
        told = [float(np.median(lane.threads_us)) for lane in known if lane.threads_us]
        usual_us, found_us = max(told, default=0.0), float(np.median(candidate.threads_us))
        if found_us - usual_us <= MAX_BUSY_US:
            return
    raise WorkerFailedError(
        Status.TAMPERING,
        f"threads of its process were busy for {found_us:.0f} us in a turn that only replayed a"
        f" graph, and the baseline's for {usual_us:.0f} us, {BUSY_TRIES} times; {MAX_BUSY_US:.0f}"
        " us more are allowed. Have a thread end in the call that starts it.",
    )
