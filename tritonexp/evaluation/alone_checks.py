"""Holds the baseline's rounds against turns in which the candidate has nothing to do.

The candidate's process is stopped in the turns of others, but what it began on the GPU may go on
then: calls take longer, or turns begin late. Does not cover what slows the baseline by less than
MAX_SLOWED, nor what goes on for longer than REST_S, which delays the candidate's next turn too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from tritonexp.errors import DisturbedError
from tritonexp.evaluation.clock_checks import is_more
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.evaluation.quiet import REST_S, use_gpu
from tritonexp.records import Status

# how much slower the baseline may be in the rounds than alone
MAX_SLOWED = 1.1
# and how much later turns may begin: a switch takes some tenths of a millisecond, and what comes
# before a turn's first event holds a replay, which is not as long each time
MAX_LATE_US = 500.0
MAX_LATE_SHARE = 0.1
# so many times that much, whatever is usual: what the candidate left behind may be there after
# everybody's turns
LATE_ANYWAY = 2
# the quantile of a lane's gaps that is its own
USUAL_GAP = 0.25
TURNS = 5
# of each kind, where it is in doubt
CLOSE_TURNS = 15
A_CALL, THE_WAIT = "a call", "the wait before a turn"

# microseconds of several turns, of each of the two
Times = dict[str, list[float]]
TakeTurn = Callable[[Lane], float]


def check_alone(
    baseline: Lane,
    candidate: Lane,
    known: Sequence[Lane],
    take_turn: TakeTurn,
    generator: np.random.Generator,
) -> None:
    """Raise where others had less of the GPU in the rounds than without the candidate.

    `known` are the lanes of all others, `take_turn` takes a turn of a lane: microseconds of a call.
    Raises WorkerFailedError where it is so in turns of the baseline right after the candidate's,
    and DisturbedError where only its calls in the rounds took longer: that was another program's
    doing.
    """
    alone: Times = {A_CALL: [], THE_WAIT: []}
    with candidate.worker.paused():
        for _ in range(TURNS):
            _watch(baseline, take_turn, alone, first=True)
    is_slowed = baseline.median_us > MAX_SLOWED * float(np.median(alone[A_CALL]))
    if is_slowed or _is_late(known):
        _look_closely(baseline, candidate, take_turn, generator)
    if is_slowed:
        raise DisturbedError(
            f"a call of the baseline took {baseline.median_us:.2f} us in the rounds and"
            f" {np.median(alone[A_CALL]):.2f} us after them, and it is not the candidate's doing."
            " Another program may be using the GPU: end it, and run this again."
        )


def _is_late(known: Sequence[Lane]) -> bool:
    """Whether turns right after the candidate's began late, by what is usual in each lane.

    Clocks that are the worker's own tell of no wait.
    """
    late_us, by_share = [], []
    for lane in known:
        for gap_us in lane.after_us:
            late_us.append(gap_us - float(np.quantile(lane.gaps_us, USUAL_GAP)))
            by_share.append(gap_us / _most_late_us(lane))
    if not late_us:
        return False
    most_us = max(_most_late_us(lane) for lane in known)
    return float(np.median(late_us)) > most_us or float(np.median(by_share)) > LATE_ANYWAY


def _most_late_us(lane: Lane) -> float:
    return max(MAX_LATE_US, MAX_LATE_SHARE * lane.median_us * lane.calls)


def _look_closely(
    baseline: Lane, candidate: Lane, take_turn: TakeTurn, generator: np.random.Generator
) -> None:
    """Raise where the baseline's turns right after the candidate's are worse than long after them.

    In an order that another program's turns cannot have too.
    """
    alone: Times = {A_CALL: [], THE_WAIT: []}
    beside: Times = {A_CALL: [], THE_WAIT: []}
    for is_beside in generator.permutation([True, False] * CLOSE_TURNS):
        if is_beside:
            take_turn(candidate)
            with candidate.worker.paused():
                _watch(baseline, take_turn, beside)
        else:
            with candidate.worker.paused():
                time.sleep(REST_S)
                # a GPU that has rested is another than one that works
                take_turn(baseline)
                _watch(baseline, take_turn, alone, first=True)
    for what, most_us in (
        (A_CALL, MAX_SLOWED * float(np.median(alone[A_CALL]))),
        (THE_WAIT, float(np.median(alone[THE_WAIT] or [0.0])) + _most_late_us(baseline)),
    ):
        times_us = beside[what]
        if times_us and np.median(times_us) > most_us and is_more(times_us, alone[what]):
            raise WorkerFailedError(
                Status.TAMPERING,
                f"{what} of the baseline took {np.median(times_us):.2f} us right after the"
                f" candidate's turns, and {np.median(alone[what]):.2f} us long after them: what it"
                " began went on after its turn",
            )


def _watch(baseline: Lane, take_turn: TakeTurn, times_us: Times, *, first: bool = False) -> None:
    """A turn of the baseline; `first` for one that does not come after another lane's."""
    if first:
        # which would begin with a switch from that one's context
        use_gpu()
    known = len(baseline.gaps_us)
    times_us[A_CALL].append(take_turn(baseline))
    times_us[THE_WAIT] += baseline.gaps_us[known:]
