"""Looks for threads of a candidate's process that work in turns that only replay a graph.

Whoever has something done beside its calls may have a thread wait for its time. Does not cover
native threads that never sleep, of which the kernel tells late, nor kernels of Linux that do not
tell at all, which the record says of its sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.records import Status

# how long each thread runs that does nothing, when its process is continued
CONTINUED_US = 20.0
# how much longer threads may have been busy in a turn than the baseline's
MAX_BUSY_US = 50.0

# microseconds that each thread has run, by its id
Threads = Mapping[int, float]


def busy_us(before_us: Threads, after_us: Threads, turn_us: float) -> float:
    """How long threads were busy in a turn, from how long each has run before it and after it.

    One that came or went is counted as if it had been so all the time: of what ends nobody tells.
    """
    if before_us.keys() != after_us.keys():
        return turn_us
    return sum(
        max(0.0, ran_us - before_us[thread] - CONTINUED_US) for thread, ran_us in after_us.items()
    )


def check_threads(candidate: Lane, known: Sequence[Lane]) -> None:
    """Raise WorkerFailedError where threads were busy in most turns of a candidate's rounds.

    `known` are lanes of others, for what is usual.
    """
    usual_us = max((float(np.median(one.threads_us)) for one in known if one.threads_us), default=0)
    found_us = float(np.median(candidate.threads_us))
    if found_us - usual_us > MAX_BUSY_US:
        raise WorkerFailedError(
            Status.TAMPERING,
            f"threads of its process were busy for {found_us:.0f} us in a turn that only replayed a"
            f" graph, and the baseline's for {usual_us:.0f} us; {MAX_BUSY_US:.0f} us more are"
            " allowed. Have a thread end in the call that starts it.",
        )
