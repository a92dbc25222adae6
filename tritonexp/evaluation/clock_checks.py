"""Holds what a worker says of its times against the referee's own clock.

Does not cover a lie that MAX_SLOWER allows, nor one of a host time within its slack, nor the events
of eager calls, of which only the worker tells.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from tritonexp.errors import DisturbedError
from tritonexp.evaluation import answers
from tritonexp.evaluation.lanes import Doubt, Lane, Setting
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.evaluation.quiet import REST_S, use_gpu
from tritonexp.records import Status

# each is twice as long as the one before: on a loaded host two wake-ups are milliseconds apart
CLOCK_TRIES = 7
# the referee's two counts differ by work of about this length, long beside its scheduling noise
CLOCK_SPAN_US = 5_000.0
# how much of its claimed time a worker may have used beyond it in the rounds, more than the others
# there, and more than itself when its clock was checked
MAX_HIDDEN_SHARE = 0.2
# what was unsteady once is not so each time: the rounds are looked at so often
HIDDEN_TRIES = 3
# of what the others' turns took beside their replays, what is still usual there: the quantile
USUAL_GAP = 0.75
# how much of the time that a request takes must be in the calls that it is for
LEAST_HOST_SHARE = 0.5
HOST_SLACK_US = 1_000.0
HOST_TRIES = 3
HOST_PAUSE_S = 0.1
# whatever a worker says of its times, it is not asked for more at once
MAX_COUNT = 10_000
# how much longer a call may take when the clocks are checked than in the rounds before
MAX_SLOWER = 1.1
# of the GPU's work after a call's event: waiting for nothing takes some microseconds
REST_US = 15.0
REST_SHARE = 0.05
# that one's times are longer than another's by chance
MAX_CHANCE = 1e-3


def check_clock(
    lane: Lane,
    setting: Setting,
    others: Sequence[Lane] = (),
    take_more: Callable[[Sequence[Lane]], None] = lambda _: None,
) -> None:
    """Time two counts of replays from outside: what both cost alike cancels in the difference.

    They are asked for like any round, so a worker cannot tell which replays are checked. Both
    clocks watch the same replays, so a GPU that throttles meanwhile does not come between them.
    What a request takes beside its replays in the rounds is held against that of `others` there;
    `take_more` takes rounds of lanes anew, which tell nothing else.
    Raises DisturbedError where another program has the GPU work, or one of the others, which have
    no reason to lie, is found to do so too: then it is the machine.
    """
    try:
        _check(lane, setting, others, take_more)
    except WorkerFailedError as failure:
        if failure.status is Status.CLOCK_MISMATCH:
            setting.probe.check_quiet(lane.worker)
            with lane.worker.paused():
                time.sleep(REST_S)
                _check_machine(setting, others, take_more)
        raise


def _check_machine(
    setting: Setting, others: Sequence[Lane], take_more: Callable[[Sequence[Lane]], None]
) -> None:
    """Raise DisturbedError where the clocks of lanes that are known to be honest disagree."""
    for other in others:
        if other.failure is not None:
            continue
        rest = [one for one in others if one is not other]
        try:
            _check(other, setting, rest, take_more)
        except WorkerFailedError as failure:
            if failure.status is Status.CLOCK_MISMATCH:
                raise DisturbedError(
                    f"the clocks of this machine cannot be told apart from a lie: {failure.reason};"
                    f" that is so of {other.name}, which is known. Another program may be using the"
                    " GPU or all of the host's cores: end it, and run this again."
                ) from failure
            other.failure = failure


def _check(
    lane: Lane,
    setting: Setting,
    others: Sequence[Lane],
    take_more: Callable[[Sequence[Lane]], None],
) -> None:
    allowed = setting.protocol.max_clock_disagreement
    seen = []
    for attempt in range(CLOCK_TRIES):
        span_us = CLOCK_SPAN_US * 2**attempt
        found = _measure(lane, setting, span_us)
        lane.referee_us = found.referee_us
        seen.append(f"{found.worker_us:.2f} and {found.referee_us:.2f}")
        slower = found.referee_us / lane.median_us
        if abs(found.referee_us - found.worker_us) > allowed * abs(found.referee_us):
            why = (
                "the worker's clock and the referee's disagree on the same replays in"
                f" {CLOCK_TRIES} tries: {'; '.join(seen)} us a call; {allowed:.0%} apart is allowed"
            )
        elif slower > MAX_SLOWER:
            why = (
                f"a call took {found.referee_us:.2f} us by the referee's clock and"
                f" {lane.median_us:.2f} us in the rounds; {MAX_SLOWER:g} times as long is allowed"
            )
        else:
            _check_hidden(lane, found.gap_us, others, take_more)
            return
    raise WorkerFailedError(Status.CLOCK_MISMATCH, why)


@dataclass(frozen=True)
class _Span:
    """What two requests for replays say of a call, and what each took beside them."""

    worker_us: float
    referee_us: float
    gap_us: float


def _measure(lane: Lane, setting: Setting, span_us: float) -> _Span:
    """Two requests that differ by about so much work."""
    # as it is before a turn of a candidate's in the rounds, but for a moment
    with lane.worker.paused() if lane.is_candidate else contextlib.nullcontext():
        use_gpu()
    few = setting.jittered(lane)
    once_us = lane.median_us * lane.calls
    more = min(MAX_COUNT, max(1, math.ceil(span_us / once_us * setting.generator.uniform(1, 1.3))))
    by_referee_us, by_worker_us, gaps_us = [], [], []
    for count in (few, few + more):
        begin = time.perf_counter()
        answer = lane.worker.call("replay", setting.timeout_s, count=count)
        by_referee_us.append((time.perf_counter() - begin) * 1e6)
        by_worker_us.append(answers.time_of(answer, "elapsed_us"))
        gaps_us.append(gap_of(by_referee_us[-1], by_worker_us[-1], count))
    referee_us, worker_us = (
        (times[1] - times[0]) / (more * lane.calls) for times in (by_referee_us, by_worker_us)
    )
    return _Span(worker_us, referee_us, max(gaps_us))


def gap_of(wall_us: float, claimed_us: float, count: int) -> float:
    """What a request took beside its replays, of which one more leads, see Worker."""
    return wall_us - claimed_us * (count + 1) / count


def _check_hidden(
    lane: Lane,
    gap_us: float,
    others: Sequence[Lane],
    take_more: Callable[[Sequence[Lane]], None],
) -> None:
    """Raise where the rounds hid more time than the check, whose replays were timed from outside.

    A turn begins with a switch from another's context, which takes longer at times than the check's
    own switch does; that is so for all lanes alike.
    """
    for attempt in range(HIDDEN_TRIES):
        if attempt:
            for one in (lane, *others):
                one.gaps_us.clear()
                one.claimed_us.clear()
            take_more([lane, *others])
            if lane.failure is not None:
                raise lane.failure
        usual_us = [float(np.quantile(one.gaps_us, USUAL_GAP)) for one in others if one.gaps_us]
        known_us = [gap_us, *usual_us]
        hidden_us = float(np.median(lane.gaps_us)) - max(known_us)
        claimed_us = float(np.median(lane.claimed_us))
        if hidden_us <= MAX_HIDDEN_SHARE * claimed_us:
            return
    raise WorkerFailedError(
        Status.CLOCK_MISMATCH,
        f"a round took {hidden_us:.0f} us more than the {claimed_us:.0f} us that the worker"
        f" told of, {HIDDEN_TRIES} times; {MAX_HIDDEN_SHARE:.0%} are allowed",
    )


def doubt_of_rest(answer: dict[str, Any], count: int) -> Doubt:
    """Whether the GPU still worked for calls that were over by their events; of one call."""
    rest_us = answers.rest_of(answer, "late_us")
    elapsed_us = answers.time_of(answer, "elapsed_us")
    return Doubt(
        (rest_us - REST_SHARE * elapsed_us) / count - REST_US,
        f"the GPU worked for {rest_us:.0f} us after {count} calls had ended by their events,"
        f" which told of {elapsed_us:.0f} us",
    )


def doubt_of_wall(claimed_us: float, wall_us: float, calls: int) -> Doubt:
    """Whether eager calls took much longer, seen from outside, than the worker told of."""
    return Doubt(
        LEAST_HOST_SHARE * wall_us - HOST_SLACK_US - claimed_us,
        f"{calls} calls took {wall_us:.0f} us, and the worker told of {claimed_us:.0f} us",
    )


def check_doubts(lane: Lane, others: Sequence[Lane] = ()) -> None:
    """Raise where the rounds of a clock that is the worker's own are mostly doubtful.

    Not for one of them, nor where those of `others` are about as much, which have no reason to lie:
    anything else on the host can come between a worker's clock and the referee's.
    """
    doubts = sorted(lane.doubts, key=lambda doubt: doubt.excess_us)
    middle = doubts[len(doubts) // 2]
    excess_us = [doubt.excess_us for doubt in doubts]
    known_us = [[doubt.excess_us for doubt in one.doubts] for one in others if one.doubts]
    if middle.excess_us > 0 and all(is_more(excess_us, usual_us) for usual_us in known_us):
        raise WorkerFailedError(Status.CLOCK_MISMATCH, middle.reason)


def is_more(times_us: Sequence[float], than_us: Sequence[float]) -> bool:
    """Whether times are longer than others, and not by chance."""
    chance = mannwhitneyu(times_us, than_us, alternative="greater").pvalue
    # few times cannot show more than that each is longer than all of the others
    least = 1 / math.comb(len(times_us) + len(than_us), len(than_us))
    return bool(chance <= max(MAX_CHANCE, least))


def time_host(lane: Lane, setting: Setting) -> Doubt:
    """Have eager calls timed by the worker's host clock, and by the referee's all together.

    Returns how far the two are apart.
    """
    calls = setting.protocol.host_calls
    for attempt in range(HOST_TRIES):
        # what came between is over by then
        time.sleep(attempt * HOST_PAUSE_S)
        begin = time.perf_counter()
        answer = lane.worker.call("time_host", setting.timeout_s, count=calls)
        wall_us = (time.perf_counter() - begin) * 1e6
        times = answers.times_of(answer, "times_us", calls)
        lane.host_us = float(np.median(times))
        doubt = doubt_of_wall(sum(times), wall_us, calls)
        if doubt.excess_us <= 0:
            break
    return doubt
