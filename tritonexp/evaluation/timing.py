"""Times implementations in turns at one size, each in its own worker, and checks what they say.

Device time is one CUDA graph that holds a call for each of several sets of arguments, together
several times the L2 cache, so that each call finds cold data at new addresses. What the graph
computes is verified before it is timed and in some of the rounds (see rounds.py), and the referee's
own clock checks the events of the candidate's worker (see clock_checks.py).

Does not cover: problems so small that MAX_SETS sets do not fill the L2, which are timed partly
warm; native code in a worker, which could lie to the worker's side but neither to the referee's
clock nor to the verified results.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tritonexp.errors import DisturbedError, ReferenceFailedError
from tritonexp.evaluation import answers
from tritonexp.evaluation.alone_checks import check_alone
from tritonexp.evaluation.clock_checks import (
    HOST_TRIES,
    MAX_COUNT,
    check_clock,
    check_doubts,
    time_host,
)
from tritonexp.evaluation.clocks import ClockReader
from tritonexp.evaluation.lanes import (
    Doubt,
    Draw,
    Lane,
    Results,
    ResultsJudge,
    Setting,
    fail_wrong,
    guarded,
    in_turn,
    read_results,
    write,
)
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.process import WorkerFailedError, WorkerProcess
from tritonexp.evaluation.quiet import Probe
from tritonexp.evaluation.rounds import WATCHED, take_rounds, take_uncounted, turn_us
from tritonexp.evaluation.thread_checks import check_threads
from tritonexp.operations import Spec
from tritonexp.records import (
    Clock,
    ClockLog,
    Gpu,
    Role,
    Size,
    Status,
    TimingProtocol,
)

MAX_SETS = 512
# with a smaller factor a protocol does not ask for cold data
COLD_FACTOR = 1.0
# where tensors lie in memory makes a difference of some tenths of a percent, which several even
# out: so many sets at least, as far as this part of the GPU's memory holds them
EVEN_SETS = 64
EVEN_SHARE = 1 / 128
# an eager call's set count: each is cold by the flush, several only so that addresses change
EVENT_SETS = 4
# a graph shorter than this would show the gap between two replays
GRAPH_US = 300.0
MAX_PASSES = 16
COUNT_TRIES = 3
DISTURBED_TRIES = 3
# of small sets there may be hundreds
MAX_VERIFIED_SETS = 64
VERIFIED_AT_ONCE = 16


class CannotCaptureError(Exception):
    """An implementation that cannot be captured in a CUDA graph: all are then timed by events."""

    def __init__(self, failures: list[str], lanes: Sequence[Lane]) -> None:
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)
        # who failed otherwise meanwhile, by name
        self.lost = {lane.name: lane.failure for lane in lanes if lane.failure is not None}


def set_count(spec: Spec, size: Size, dtype: str, protocol: TimingProtocol, gpu: Gpu) -> int:
    """How many argument sets are rotated through at a size."""
    if protocol.clock is Clock.HOST:
        return 1
    if protocol.clock is Clock.EVENTS:
        return EVENT_SETS
    call_bytes = spec.call_bytes(size, dtype)
    wanted = max(2, math.ceil(protocol.cold_factor * gpu.l2_bytes / call_bytes))
    if protocol.cold_factor > COLD_FACTOR:
        wanted = max(wanted, min(EVEN_SETS, int(EVEN_SHARE * gpu.memory_bytes / call_bytes)))
    return min(MAX_SETS, wanted)


def most_sets(spec: Spec, size: Size, dtype: str, protocol: TimingProtocol, gpu: Gpu) -> int:
    """How many argument sets there may be at a size, with one to spare.

    Where a graph cannot be captured, events take its place, and they have sets of their own number.
    """
    sets = set_count(spec, size, dtype, protocol, gpu)
    return 1 + (max(sets, EVENT_SETS) if protocol.clock is Clock.GRAPH else sets)


def time_in_turns(
    spec: Spec,
    size: Size,
    dtype: str,
    workers: Sequence[WorkerProcess],
    protocol: TimingProtocol,
    gpu: Gpu,
    draw: Draw,
    judge: ResultsJudge,
    clocks: ClockReader,
    timeout_s: float,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[list[Lane], ClockLog]:
    """Time workers at one size on ordinary values, and verify what they compute on others.

    A lane that fails keeps its failure and drops out; the others go on. Where another program came
    between, all is done again.
    Raises CannotCaptureError where one cannot be captured, since like is compared with like,
    ReferenceFailedError where the baseline fails, and DisturbedError where another program comes
    between each time.
    """
    setting = Setting(
        spec=spec,
        size=size,
        # one more than are timed, see Setting.spare
        layout=lay_out(spec, size, dtype, 1 + set_count(spec, size, dtype, protocol, gpu)),
        protocol=protocol,
        draw=draw,
        judge=judge,
        clocks=clocks,
        probe=Probe(),
        timeout_s=timeout_s,
        generator=np.random.default_rng(secrets.randbits(64)),
    )
    lanes = [Lane(worker, protocol.clock) for worker in workers]
    for _ in range(DISTURBED_TRIES - 1):
        try:
            return lanes, _time(setting, lanes, gpu)
        except DisturbedError as error:
            progress(f"timing {size.label} again, since {error}")
            # who has failed has failed
            lanes = [Lane(one.worker, protocol.clock, failure=one.failure) for one in lanes]
    return lanes, _time(setting, lanes, gpu)


def _time(setting: Setting, lanes: Sequence[Lane], gpu: Gpu) -> ClockLog:
    """Time lanes at one size, once."""
    protocol = setting.protocol
    _fill_sets(setting, lanes)
    _prepare(setting, lanes, gpu)
    _check_baseline(lanes)
    if protocol.clock is Clock.GRAPH:
        for lane in lanes:
            if lane.is_candidate:
                guarded(_check_work, lane)
        _verify_capture(setting, lanes)
        _check_baseline(lanes)
    log = take_rounds(setting, lanes)
    _check_baseline(lanes)
    judged = [lane for lane in lanes if lane.is_candidate and lane.failure is None]
    # of who has failed no more is said
    if judged and protocol.clock is not Clock.HOST:
        setting.probe.check_quiet(judged[0].worker)
    # what is no candidate is known, and has no reason to lie
    known = [lane for lane in lanes if not lane.is_candidate and lane.failure is None]
    for lane in lanes:
        if not lane.is_candidate:
            continue
        if lane.clock is Clock.GRAPH:
            take_more = functools.partial(take_uncounted, setting)
            guarded(check_threads, lane, known, take_more)
            guarded(check_clock, lane, setting, known, take_more)
        else:
            guarded(check_doubts, lane, known)
    if protocol.clock is not Clock.HOST:
        _check_alone(setting, lanes)
        _time_host(setting, lanes)
    _release(lanes, setting.timeout_s)
    _check_baseline(lanes)
    return log


def _check_baseline(lanes: Sequence[Lane]) -> None:
    """Raise ReferenceFailedError where the baseline failed: nobody is judged without it."""
    for lane in lanes:
        if lane.worker.implementation.role is Role.BASELINE and lane.failure is not None:
            raise ReferenceFailedError(
                f"the baseline failed while it was timed: {lane.failure.reason}. Nothing is judged"
                " without it; run it again, and correct the operation's baseline.py if it fails"
                " each time."
            )


def _fill_sets(setting: Setting, lanes: Sequence[Lane]) -> None:
    sets = len(setting.sets)
    # of an earlier time
    setting.kept.clear()
    # two different ones where there are two
    chosen = setting.generator.permutation(sets)[:2]
    setting.witness, setting.mixed = int(chosen[0]), int(chosen[-1])
    for index in range(sets):
        values = setting.ordinary()
        if index in (setting.witness, setting.mixed):
            setting.kept[index] = values
        for lane in lanes:
            setting.layout.write(lane.worker.arena, index, values)
    torch.cuda.synchronize()


def _prepare(setting: Setting, lanes: Sequence[Lane], gpu: Gpu) -> None:
    if setting.protocol.clock is Clock.GRAPH:
        # asked of all at once: compiling is work for the host, which has several cores
        for lane in lanes:
            if lane.failure is None:
                lane.worker.ask("capture", sets=setting.sets, passes=1)
        failures: list[str] = []
        for lane in lanes:
            lane.calls = len(setting.sets)
            guarded(_captured, lane, failures, setting.timeout_s)
        if failures:
            raise CannotCaptureError(failures, lanes)
    else:
        # only events need the cache flushed; the host clock is the original study's, warm as it was
        flush_bytes = 4 * gpu.l2_bytes if setting.protocol.clock is Clock.EVENTS else 1
        for lane in lanes:
            guarded(_prepare_events, lane, setting, flush_bytes)
    # each alone with the GPU
    for lane in lanes:
        with in_turn(lane, lanes):
            guarded(_choose_count, lane, setting)
    # all at once
    for lane in lanes:
        guarded(_ask_longer, lane, setting)
    for lane in lanes:
        guarded(_take_longer, lane, setting)


def _captured(lane: Lane, failures: list[str], timeout_s: float) -> None:
    try:
        _take(lane, lane.worker.answer(timeout_s))
    except WorkerFailedError as failure:
        # it ran eagerly when it was verified, so what fails is the capture
        if failure.status is not Status.RUNTIME_ERROR or not lane.worker.alive:
            raise
        failures.append(f"{lane.name}: {failure.reason}")


def _take(lane: Lane, answer: dict[str, Any]) -> None:
    lane.work = answers.work_of(answer)
    lane.launched = answers.launched_of(answer)
    lane.distinct = answers.flag_of(answer, "distinct")


def _check_work(lane: Lane) -> None:
    """Raise for a graph in which not every call does its own work."""
    if not lane.launched:
        raise WorkerFailedError(
            Status.NOT_TRITON, "no Triton kernel of the file is in the graph that was to be timed"
        )
    for name, count in lane.launched.items():
        if count % lane.calls:
            raise WorkerFailedError(
                Status.STALE_RESULT,
                f"{lane.calls} calls in a graph launched {name} {count} times, so they did not all"
                " do their own work",
            )
    if not lane.distinct:
        raise WorkerFailedError(
            Status.STALE_RESULT,
            "calls on different arguments returned the same memory, so that one overwrites the"
            " result of another",
        )


def _prepare_events(lane: Lane, setting: Setting, flush_bytes: int) -> None:
    lane.worker.call(
        "prepare_events", setting.timeout_s, sets=setting.sets, flush_bytes=flush_bytes
    )


def _release(lanes: Sequence[Lane], timeout_s: float) -> None:
    """Have all give back what they were timed with, at once."""
    for lane in lanes:
        if lane.failure is None:
            lane.worker.ask("release")
    for lane in lanes:
        guarded(_released, lane, timeout_s)


def _released(lane: Lane, timeout_s: float) -> None:
    answer = lane.worker.answer(timeout_s)
    if lane.is_candidate:
        answers.check_untouched(answer)


def _choose_count(lane: Lane, setting: Setting) -> None:
    sets, protocol, timeout_s = setting.sets, setting.protocol, setting.timeout_s
    if lane.clock is Clock.HOST:
        lane.count = protocol.host_calls
        return
    if lane.clock is Clock.EVENTS:
        lane.count = len(sets)
        answer = lane.worker.call("time_events", timeout_s, count=lane.count)
        per_call_us = answers.time_of(answer, "elapsed_us") / lane.count
        # a multiple of the sets, so that each holds results of the last round
        wanted = len(sets) * max(1, round(protocol.window_us / per_call_us / len(sets)))
        lane.count = min(MAX_COUNT, wanted)
        return
    # the least of some: who is interrupted here would be timed by a shorter graph than the others
    once_us = min(
        answers.time_of(lane.worker.call("replay", timeout_s, count=2), "elapsed_us") / 2
        for _ in range(COUNT_TRIES)
    )
    once_us = max(once_us, 1e-3)
    passes = min(MAX_PASSES, math.ceil(GRAPH_US / once_us))
    # what will be asked for, whatever the worker says that it captured
    lane.calls = passes * len(sets)
    lane.replays = min(MAX_COUNT, protocol.window_us / (passes * once_us))


def _ask_longer(lane: Lane, setting: Setting) -> None:
    """Have a graph captured anew that is to hold several calls on each set."""
    passes = lane.calls // len(setting.sets)
    if passes > 1:
        lane.worker.ask("capture", sets=setting.sets, passes=passes)


def _take_longer(lane: Lane, setting: Setting) -> None:
    if lane.calls > len(setting.sets):
        _take(lane, lane.worker.answer(setting.timeout_s))


def _verify_capture(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Compare what the candidate's graph computes on every set and every distribution.

    It was verified where it was called, and a kernel may do less where it is captured, or do so for
    some of the sets.
    """
    # the baseline's own error is what the candidate's is judged by
    watched = [lane for lane in lanes if lane.worker.implementation.role in WATCHED]
    distributions = deque(setting.spec.distributions)
    left = setting.generator.permutation(len(setting.sets))[:MAX_VERIFIED_SETS].tolist()
    while left or distributions:
        here, left = left[:VERIFIED_AT_ONCE], left[VERIFIED_AT_ONCE:]
        here = here or setting.generator.permutation(len(setting.sets))[:VERIFIED_AT_ONCE].tolist()
        drawn = {index: _next_of(distributions, setting) for index in here}
        fresh = {index: setting.draw(distribution) for index, distribution in drawn.items()}
        # one for each: sets that hold the same could have one result for all
        decoys = {index: setting.ordinary() for index in here}
        results: dict[int, Results] = {index: {} for index in here}
        for lane in watched:
            with in_turn(lane, watched):
                guarded(_replay_on, lane, setting, fresh, decoys, results)
        for index, distribution in drawn.items():
            reasons = setting.judge(fresh[index], results[index])
            fail_wrong(watched, reasons, f"a captured call on {distribution} values")
    for index in (setting.witness, setting.mixed):
        setting.kept[index] = setting.ordinary()
    for lane in lanes:
        guarded(write, lane, setting, setting.kept)


def _next_of(distributions: deque[str], setting: Setting) -> str:
    """One that was not yet used, or any."""
    if distributions:
        return distributions.popleft()
    return str(setting.generator.choice(setting.spec.distributions))


def _replay_on(
    lane: Lane,
    setting: Setting,
    fresh: dict[int, list[object]],
    decoys: dict[int, list[object]],
    results: dict[int, Results],
) -> None:
    write(lane, setting, fresh)
    lane.worker.call("replay", setting.timeout_s, count=1, poison=setting.poison())
    # the fresh values are gone before anybody asks for what became of them
    write(lane, setting, decoys)
    for index in fresh:
        read_results(lane, setting, index, results[index])


def _check_alone(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Fail a candidate that takes the GPU from the others."""
    by_role = {lane.worker.implementation.role: lane for lane in lanes if lane.failure is None}
    known = [lane for lane in lanes if not lane.is_candidate and lane.failure is None]
    candidate, baseline = by_role.get(Role.CANDIDATE), by_role.get(Role.BASELINE)
    if candidate is None or baseline is None:
        return

    def turn(lane: Lane) -> float:
        try:
            return turn_us(lane, setting)
        except WorkerFailedError as failure:
            lane.failure = failure
            raise

    try:
        check_alone(baseline, candidate, known, turn, setting.generator)
    except WorkerFailedError as failure:
        if baseline.failure is None:
            candidate.failure = failure


def _time_host(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Time eager calls by the host's clock, and verify what one of them computes."""
    index = int(setting.generator.integers(min(setting.protocol.host_calls, len(setting.sets))))
    fresh, decoy = setting.ordinary(), setting.ordinary()
    results: Results = {}
    for lane in lanes:
        if lane.failure is None:
            lane.worker.ask("prepare_host")
    for lane in lanes:
        guarded(_take_host_results, lane, setting)
    doubts: dict[str, Doubt] = {}
    for lane in lanes:
        # whatever else a candidate's process did would take the host's time from the others
        with in_turn(lane, lanes):
            guarded(_time_host_on, lane, setting, index, fresh, decoy, results, doubts)
    for lane in lanes:
        if lane.is_candidate:
            guarded(_check_host, lane, doubts)
    fail_wrong(lanes, setting.judge(fresh, results), "a host-timed call")


def _take_host_results(lane: Lane, setting: Setting) -> None:
    lane.worker.answer(setting.timeout_s)


def _time_host_on(
    lane: Lane,
    setting: Setting,
    index: int,
    fresh: list[object],
    decoy: list[object],
    results: Results,
    doubts: dict[str, Doubt],
) -> None:
    write(lane, setting, {index: fresh})
    doubts[lane.name] = time_host(lane, setting)
    write(lane, setting, {index: decoy})
    read_results(lane, setting, index, results)


def _check_host(lane: Lane, doubts: dict[str, Doubt]) -> None:
    """Raise where a host clock is further from the referee's than those of all that are known."""
    others_us = [doubt.excess_us for name, doubt in doubts.items() if name != lane.name]
    if doubts[lane.name].excess_us > max([0.0, *others_us]):
        raise WorkerFailedError(
            Status.CLOCK_MISMATCH, f"{doubts[lane.name].reason}, in {HOST_TRIES} tries"
        )
