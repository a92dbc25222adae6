"""Holds the baseline's rounds against turns in which the candidate has nothing to do.

The candidate's process is stopped in the turns of others, but what it began on the GPU may go on
then: calls take longer, or turns begin late. Does not cover what slows the baseline by less than
MAX_SLOWED, nor what goes on for longer than REST_S, which delays the candidate's next turn too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tritonexp.errors import DisturbedError
from tritonexp.evaluation.clock_checks import REST_S, is_more, use_gpu
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.records import Status

# how much slower the baseline may be in the rounds than alone
MAX_SLOWED = 1.1
# and how much later turns may begin: a switch takes some tenths of a millisecond
MAX_LATE_US = 500.0
# so late that what the candidate left behind may be there in the turns without it too
LATE_ANYWAY_US = 1_000.0
TURNS = 5
# of each kind, where it is in doubt
CLOSE_TURNS = 15
A_CALL, THE_WAIT = "a call", "the wait before a turn"

# microseconds of several turns, of each of the two
Times = Mapping[str, Sequence[float]]
TakeTurn = Callable[[Lane], float]


def check_alone(
    baseline: Lane, candidate: Lane, take_turn: TakeTurn, generator: np.random.Generator
) -> None:
    """Raise where the baseline had less of the GPU in the rounds than without the candidate.

    `take_turn` takes a turn of a lane: microseconds of a call. Raises WorkerFailedError where it is
    so in turns right after the candidate's, and DisturbedError where only the baseline's calls in
    the rounds took longer: that was another program's doing.
    """
    # clocks that are the worker's own tell of no wait
    waits_us = candidate.left_us or baseline.gaps_us
    in_rounds = {A_CALL: list(baseline.rounds_us)} | (
        {THE_WAIT: list(waits_us)} if waits_us else {}
    )
    alone: dict[str, list[float]] = {what: [] for what in in_rounds}
    with candidate.worker.paused():
        for _ in range(TURNS):
            _watch(baseline, take_turn, alone, first=True)
    is_late = float(np.median(waits_us or [0.0])) > LATE_ANYWAY_US
    if is_late or any(_is_longer(what, in_rounds, alone) for what in in_rounds):
        _look_closely(baseline, candidate, take_turn, generator, in_rounds)


def _look_closely(
    baseline: Lane,
    candidate: Lane,
    take_turn: TakeTurn,
    generator: np.random.Generator,
    in_rounds: Times,
) -> None:
    """Find out who keeps the GPU from the baseline, by turns right after the candidate's and not.

    In an order that another program's turns cannot have too.
    """
    alone: dict[str, list[float]] = {what: [] for what in in_rounds}
    beside: dict[str, list[float]] = {what: [] for what in in_rounds}
    for is_beside in generator.permutation([True, False] * CLOSE_TURNS):
        if is_beside:
            take_turn(candidate)
            with candidate.worker.paused():
                _watch(baseline, take_turn, beside)
        else:
            with candidate.worker.paused():
                time.sleep(REST_S)
                _watch(baseline, take_turn, alone, first=True)
    told = {
        what: f"{what} of the baseline took {np.median(times_us):.2f} us in the rounds,"
        f" {np.median(beside[what]):.2f} us right after the candidate's turns later, and"
        f" {np.median(alone[what]):.2f} us long after them"
        for what, times_us in in_rounds.items()
    }
    for what, words in told.items():
        if _is_longer(what, beside, alone) and is_more(beside[what], alone[what]):
            raise WorkerFailedError(
                Status.TAMPERING, f"{words}: what it began went on after its turn"
            )
    if _is_longer(A_CALL, in_rounds, alone):
        raise DisturbedError(
            f"{told[A_CALL]}. Another program may be using the GPU: end it, and run this again."
        )


def _watch(
    baseline: Lane, take_turn: TakeTurn, times_us: dict[str, list[float]], *, first: bool = False
) -> None:
    """A turn of the baseline; `first` for one that does not come after another lane's."""
    if first:
        # which would begin with a switch from that one's context
        use_gpu()
    times_us[A_CALL].append(take_turn(baseline))
    if THE_WAIT in times_us:
        times_us[THE_WAIT].append(baseline.gaps_us[-1])


def _is_longer(what: str, times_us: Times, alone: Times) -> bool:
    """Whether one of two times is longer than it could be by habit."""
    alone_us = float(np.median(alone[what]))
    most_us = MAX_SLOWED * alone_us if what == A_CALL else alone_us + MAX_LATE_US
    return float(np.median(times_us[what])) > most_us
