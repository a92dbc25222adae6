"""Rounds: implementations take turns until it is settled which is faster, or a maximum is reached.

In some rounds, which no worker can foresee, values or results are changed and what a replay made of
them is compared with float64. A round in which the GPU was unsteady is taken again.

Does not cover throttling that begins and ends within a round.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tritonexp import statistics
from tritonexp.evaluation import answers, clocks
from tritonexp.evaluation.clock_checks import doubt_of_rest, doubt_of_wall, gap_of
from tritonexp.evaluation.lanes import (
    Lane,
    Results,
    Setting,
    fail_wrong,
    guarded,
    in_turn,
    read_results,
    write,
)
from tritonexp.evaluation.thread_checks import busy_us
from tritonexp.records import Clock, ClockLog, ClockSample, Role

# of the values of a set, in the round that changes some: so many that whoever computes a part of a
# result is wrong about the rest, or so few that whoever looks at a part of its input sees no change
MIXED_SHARES = (0.5, 1e-3)
# of the rounds asked for: how many are added at a time where a verdict is open
STEP_SHARE = 0.5
# whose results and threads are looked at in the rounds: what is judged, and what it is judged by
WATCHED = (Role.CANDIDATE, Role.BASELINE)


def take_rounds(setting: Setting, lanes: Sequence[Lane]) -> ClockLog:
    """All rounds of a size, in an order that is shuffled anew in each; tells what the clocks did.

    Those beyond what is asked for are of the candidate and of whom it is open against. Of the
    rounds asked for, and of those added each time, two are verified.
    """
    protocol = setting.protocol
    samples: list[ClockSample | None] = []
    wanted, timed = protocol.rounds, list(lanes)
    step = max(2, round(protocol.rounds * STEP_SHARE))
    # what held the clocks back before the first round is not that round's
    setting.clocks.read()
    while True:
        samples += _take(setting, lanes, timed, wanted - len(samples))
        if wanted >= protocol.max_rounds:
            break
        # who has left does not come back: rounds of one number belong together
        timed = _open(setting, timed)
        if not timed:
            break
        wanted = min(protocol.max_rounds, wanted + step)
    measure_again = functools.partial(_take_again, setting, lanes)
    counted, again = clocks.settle(samples, measure_again)
    return clocks.log_of(setting.size, counted, again, setting.clocks.reason)


def _take(
    setting: Setting, lanes: Sequence[Lane], timed: Sequence[Lane], count: int
) -> list[ClockSample | None]:
    """Take rounds of those `timed`, and two more among them that are verified.

    In one, some of the values of a set are new, and nothing says so; in the other, nothing is new
    but what the results are overwritten with. So whoever skips work by a look at its input, or at
    its output, is found out by the one or the other. Their times do not count, since what is
    changed is changed within them.
    """
    samples = []
    # not the first: partly new values show something only to who has seen the old ones
    mixed = setting.generator.integers(1, count) if count > 1 else 0
    same = -1
    if count > 1 and setting.witness != setting.mixed:
        same = setting.generator.choice(np.delete(np.arange(count), mixed))
    for number in range(count):
        verified = {mixed: _mixed_round, same: _same_round}.get(number)
        watched = [lane for lane in lanes if _is_watched(lane) and lane.failure is None]
        if verified is not None and watched:
            verified(setting, _shuffled(setting, watched))
            # what held the clocks back meanwhile is not the next round's
            setting.clocks.read()
        _round(setting, timed)
        samples.append(setting.clocks.read())
    return samples


def _round(setting: Setting, lanes: Sequence[Lane]) -> None:
    """A turn of each lane that counts."""
    before: Lane | None = None
    for lane in _shuffled(setting, lanes):
        known = len(lane.gaps_us)
        with in_turn(lane, lanes):
            guarded(take_turn, lane, setting)
        if before is not None and before.is_candidate:
            lane.after_us += lane.gaps_us[known:]
        before = lane


def _is_watched(lane: Lane) -> bool:
    return lane.worker.implementation.role in WATCHED


def _shuffled(setting: Setting, lanes: Sequence[Lane]) -> list[Lane]:
    return [lanes[index] for index in setting.generator.permutation(len(lanes))]


def _take_again(setting: Setting, lanes: Sequence[Lane], number: int) -> ClockSample | None:
    """Take one of the rounds again, of all that were in it, and let it count in its place."""
    for lane in _shuffled(setting, [one for one in lanes if number < len(one.rounds_us)]):
        with in_turn(lane, lanes):
            guarded(_replace_turn, lane, setting, number)
    return setting.clocks.read()


def _replace_turn(lane: Lane, setting: Setting, number: int) -> None:
    take_turn(lane, setting)
    lane.rounds_us[number] = lane.rounds_us.pop()


def _open(setting: Setting, lanes: Sequence[Lane]) -> list[Lane]:
    """The candidate and whom more rounds may change its verdict against; empty for nobody."""
    candidate = next((lane for lane in lanes if lane.is_candidate), None)
    if candidate is None or candidate.failure is not None:
        return []
    margin = setting.protocol.margin
    others = [
        lane
        for lane in lanes
        if lane is not candidate
        and lane.failure is None
        and not statistics.is_settled(candidate.rounds_us, lane.rounds_us, margin)
    ]
    return [candidate, *others] if others else []


def _mixed_round(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Take a round in which some of the values of a set are new, and judge it."""
    old, new, decoy = setting.kept[setting.mixed], setting.ordinary(), setting.ordinary()
    share = float(setting.generator.choice(MIXED_SHARES))
    fresh = [_mixed(a, b, share) for a, b in zip(old, new, strict=True)]
    results: Results = {}
    for lane in lanes:
        with in_turn(lane, lanes):
            guarded(_mixed_turn, lane, setting, fresh, decoy, results)
    setting.kept[setting.mixed] = decoy
    fail_wrong(lanes, setting.judge(fresh, results), "a timed call on values some of them new")


def _mixed(old: object, new: object, share: float) -> object:
    """An old argument with about this share of its values new, and one at least."""
    if not (isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)):
        return new
    is_new = torch.rand(new.shape, device=new.device) < share
    is_new.view(-1)[torch.randint(new.numel(), (1,), device=new.device)] = True
    return torch.where(is_new, new, old)


def _mixed_turn(
    lane: Lane,
    setting: Setting,
    fresh: list[object],
    decoy: list[object],
    results: Results,
) -> None:
    if lane.clock is Clock.GRAPH:
        # they come between two replays: a pause would tell a kernel that it is looked at
        write(lane, setting, {setting.spare: fresh})
        values = setting.layout.sets[setting.spare]
        turn_us(lane, setting, {"index": setting.mixed, "values": values, "poison": None})
    else:
        write(lane, setting, {setting.mixed: fresh})
        turn_us(lane, setting)
    # the fresh values are gone before anybody asks for what became of them
    write(lane, setting, {setting.mixed: decoy, setting.spare: decoy})
    read_results(lane, setting, setting.mixed, results)


def _same_round(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Take a round in which a set's results are overwritten, and judge it."""
    results: Results = {}
    for lane in lanes:
        with in_turn(lane, lanes):
            guarded(_same_turn, lane, setting, results)
    kept = setting.kept[setting.witness]
    fail_wrong(lanes, setting.judge(kept, results), "a timed call whose old result was erased")


def _same_turn(lane: Lane, setting: Setting, results: Results) -> None:
    poison = setting.poison()
    turn_us(lane, setting, {"index": setting.witness, "values": None, "poison": poison})
    read_results(lane, setting, setting.witness, results)


def take_turn(lane: Lane, setting: Setting) -> None:
    """One lane's turn in a round that counts."""
    lane.rounds_us.append(turn_us(lane, setting))


def take_uncounted(setting: Setting, lanes: Sequence[Lane]) -> None:
    """As many rounds as are asked for, whose times count for nobody."""
    for _ in range(setting.protocol.rounds):
        for lane in _shuffled(setting, lanes):
            with in_turn(lane, lanes):
                guarded(turn_us, lane, setting)


def turn_us(lane: Lane, setting: Setting, late: dict[str, Any] | None = None) -> float:
    """Microseconds of a call in one turn of a lane, by the worker's clock.

    `late` changes a set before the last of a graph's replays.
    """
    if lane.clock is Clock.GRAPH:
        return _graph_turn_us(lane, setting, late)
    command = "time_events" if lane.clock is Clock.EVENTS else "time_burst"
    begin = time.perf_counter()
    answer = lane.worker.call(command, setting.timeout_s, count=lane.count)
    wall_us = (time.perf_counter() - begin) * 1e6
    elapsed_us = answers.time_of(answer, "elapsed_us")
    lane.doubts.append(
        doubt_of_rest(answer, lane.count)
        if lane.clock is Clock.EVENTS
        else doubt_of_wall(elapsed_us, wall_us, lane.count)
    )
    return elapsed_us / (lane.count * lane.calls)


def _graph_turn_us(lane: Lane, setting: Setting, late: dict[str, Any] | None) -> float:
    is_watched = _is_watched(lane)
    count = setting.jittered(lane) if late is None else setting.up_to_a_round(lane)
    ran_us = lane.worker.threads_at_rest_us() if is_watched else {}
    begin = time.perf_counter()
    answer = lane.worker.call("replay", setting.timeout_s, count=count, late=late)
    wall_us = (time.perf_counter() - begin) * 1e6
    if is_watched:
        lane.threads_us.append(busy_us(ran_us, lane.worker.threads_us(), wall_us))
    elapsed_us = answers.time_of(answer, "elapsed_us")
    if late is None:
        lane.claimed_us.append(elapsed_us)
        lane.gaps_us.append(gap_of(wall_us, elapsed_us, count))
    return elapsed_us / (count * lane.calls)
