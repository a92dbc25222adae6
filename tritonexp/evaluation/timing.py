"""Times implementations in turns at one size, each in its own worker, and checks what they say.

Device time is one CUDA graph that holds a call for each of several sets of arguments, together
several times the L2 cache, so that each call finds cold data at new addresses. In some rounds,
which no worker can foresee, fresh values are written before the replay, overwritten after it, and
the replay's results compared with float64. The referee's own clock checks the workers' events.

Does not cover: problems so small that MAX_SETS sets do not fill the L2, which are timed partly
warm; throttling within a round; native code in a worker, which could lie to the worker's side but
neither to the referee's clock nor to the verified results.
"""

from __future__ import annotations

import functools
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tritonexp.evaluation import answers, inputs
from tritonexp.evaluation.layout import Layout, lay_out
from tritonexp.evaluation.process import WorkerFailedError, WorkerProcess
from tritonexp.operations import Spec
from tritonexp.records import Clock, Gpu, Role, Size, Status, TimingProtocol

MAX_SETS = 512
# an eager call's set count: each is cold by the flush, several only so that addresses change
EVENT_SETS = 4
# of the values of a set, in the round that changes some
MIXED_SHARE = 0.5
# how much of its claimed time a worker may have used beyond it in the rounds, more than when its
# clock was checked
MAX_HIDDEN_SHARE = 0.2
# how much of the time that a request takes must be in the calls that it is for
LEAST_HOST_SHARE = 0.5
HOST_SLACK_US = 1_000.0
CLOCK_TRIES = 4
# the referee's two counts differ by work of about this length, long beside its scheduling noise
CLOCK_SPAN_US = 6_000.0
# a graph shorter than this would show the gap between two replays
GRAPH_US = 400.0
MAX_PASSES = 16
# whatever a worker says of its times, it is not asked for more at once
MAX_COUNT = 10_000


@dataclass
class Lane:
    """One implementation's way through the rounds of one size."""

    worker: WorkerProcess
    clock: Clock
    calls: int = 1  # calls in one replay or request
    count: int = 1  # replays or calls in one round
    rounds_us: list[float] = field(default_factory=list)
    # of plain rounds: what a worker says that its replays took, and what else went by
    claimed_us: list[float] = field(default_factory=list)
    gaps_us: list[float] = field(default_factory=list)
    host_us: float | None = None
    referee_us: float | None = None
    failure: WorkerFailedError | None = None
    # of the graph that is timed: what it holds, and the launches of the implementation's kernels
    work: list[dict[str, Any]] = field(default_factory=list)
    launched: Counter[str] = field(default_factory=Counter)
    distinct: bool = True

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self.worker.implementation.name

    @property
    def is_candidate(self) -> bool:
        """Whether it is what is judged."""
        return self.worker.implementation.role is Role.CANDIDATE

    @property
    def median_us(self) -> float:
        """Median over the rounds of the time per call."""
        return float(np.median(self.rounds_us))


class CannotCaptureError(Exception):
    """An implementation that cannot be captured in a CUDA graph: all are then timed by events."""

    def __init__(self, failures: list[str]) -> None:
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)


# makes fresh arguments of a distribution on the GPU
# judges one replay's results of every lane against float64: (fresh arguments, results by name)
# -> the reason why a lane's are wrong, by name
Draw = Callable[[str], list[object]]
Results = dict[str, list[torch.Tensor]]
ResultsJudge = Callable[[list[object], Results], dict[str, str]]


def set_count(spec: Spec, size: Size, dtype: str, protocol: TimingProtocol, gpu: Gpu) -> int:
    """How many argument sets are rotated through at a size."""
    if protocol.clock is Clock.HOST:
        return 1
    if protocol.clock is Clock.EVENTS:
        return EVENT_SETS
    wanted = math.ceil(protocol.cold_factor * gpu.l2_bytes / spec.call_bytes(size, dtype))
    return min(MAX_SETS, max(2, wanted))


@dataclass
class Setting:
    """What the rounds of one size share."""

    spec: Spec
    layout: Layout
    protocol: TimingProtocol
    draw: Draw
    judge: ResultsJudge
    timeout_s: float
    generator: np.random.Generator
    # what lies in two of the sets: one stays as it is, in the other a part is changed
    witness: int = 0
    mixed: int = 0
    kept: dict[int, list[object]] = field(default_factory=dict)

    def ordinary(self) -> list[object]:
        """Fresh arguments like those that are timed."""
        return self.draw(inputs.ordinary(self.spec))


def time_in_turns(
    spec: Spec,
    size: Size,
    dtype: str,
    workers: Sequence[WorkerProcess],
    protocol: TimingProtocol,
    gpu: Gpu,
    draw: Draw,
    judge: ResultsJudge,
    timeout_s: float,
) -> list[Lane]:
    """Time workers at one size on ordinary values, and verify what they compute on others.

    A lane that fails keeps its failure and drops out; the others go on.
    Raises CannotCaptureError where one cannot be captured, since like is compared with like.
    """
    layout = lay_out(spec, size, dtype, set_count(spec, size, dtype, protocol, gpu))
    generator = np.random.default_rng(secrets.randbits(64))
    setting = Setting(spec, layout, protocol, draw, judge, timeout_s, generator)
    lanes = [Lane(worker, protocol.clock) for worker in workers]
    _fill_sets(setting, lanes)
    _prepare(lanes, layout, protocol, gpu, timeout_s)
    if protocol.clock is Clock.GRAPH:
        for lane in lanes:
            if lane.is_candidate:
                _guarded(lane, _check_work)
        _verify_capture(setting, lanes)
    _take_rounds(setting, lanes)
    for lane in lanes:
        if lane.clock is Clock.GRAPH:
            _guarded(lane, _check_clock, protocol, generator, timeout_s)
        if protocol.clock is not Clock.HOST:
            _guarded(lane, _time_host, protocol, timeout_s)
        _guarded(lane, _release, timeout_s)
    return lanes


def _fill_sets(setting: Setting, lanes: Sequence[Lane]) -> None:
    sets = len(setting.layout.sets)
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


def _take_rounds(setting: Setting, lanes: Sequence[Lane]) -> None:
    """All rounds, in an order that is shuffled anew; in two that nobody foresees, verified.

    In one, half of the values of a set are new, and nothing says so; in the other, nothing is
    new but what the results are overwritten with. So whoever skips work by a look at its input, or
    at its output, is found out by the one or the other.
    """
    rounds = setting.protocol.rounds
    # not the first: half-new values show something only to who has seen the old ones
    mixed = setting.generator.integers(1, rounds)
    same = setting.generator.choice(np.delete(np.arange(rounds), mixed))
    for number in range(rounds):
        order = [lanes[i] for i in setting.generator.permutation(len(lanes))]
        if number == mixed:
            _mixed_round(setting, order)
        elif number == same and setting.witness != setting.mixed:
            _same_round(setting, order)
        else:
            for lane in order:
                _guarded(lane, _round, None, setting.generator, setting.timeout_s)


def _mixed_round(setting: Setting, lanes: Sequence[Lane]) -> None:
    old, new, decoy = setting.kept[setting.mixed], setting.ordinary(), setting.ordinary()
    fresh = [
        torch.where(torch.rand(b.shape, device=b.device) < MIXED_SHARE, b, a)
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
        else b
        for a, b in zip(old, new, strict=True)
    ]
    results: Results = {}
    for lane in lanes:
        run = functools.partial(_round, lane, None, setting.generator, setting.timeout_s)
        _guarded(lane, _on_values, setting, setting.mixed, fresh, decoy, run, results)
    setting.kept[setting.mixed] = decoy
    _fail_wrong(lanes, setting.judge(fresh, results), "a timed call on values half of them new")


def _same_round(setting: Setting, lanes: Sequence[Lane]) -> None:
    results: Results = {}
    for lane in lanes:
        poison = _poison(setting.generator)
        run = functools.partial(_round, lane, poison, setting.generator, setting.timeout_s)
        _guarded(lane, _on_values, setting, setting.witness, None, None, run, results)
    kept = setting.kept[setting.witness]
    _fail_wrong(lanes, setting.judge(kept, results), "a timed call whose old result was erased")


def _guarded(lane: Lane, step: Callable[..., object], *arguments: object) -> None:
    """Take a step of a lane that has not failed yet; the lane is the step's first argument."""
    if lane.failure is None:
        try:
            step(lane, *arguments)
        except WorkerFailedError as failure:
            lane.failure = failure


def _prepare(
    lanes: list[Lane], layout: Layout, protocol: TimingProtocol, gpu: Gpu, timeout_s: float
) -> None:
    if protocol.clock is Clock.GRAPH:
        # asked of all at once: compiling is work for the host, which has several cores
        for lane in lanes:
            lane.worker.ask("capture", sets=layout.sets, passes=1)
        failures: list[str] = []
        for lane in lanes:
            lane.calls = len(layout.sets)
            _guarded(lane, _captured, failures, timeout_s)
        if failures:
            raise CannotCaptureError(failures)
    else:
        # only events need the cache flushed; the host clock is the original study's, warm as it was
        flush_bytes = 4 * gpu.l2_bytes if protocol.clock is Clock.EVENTS else 1
        for lane in lanes:
            _guarded(lane, _prepare_events, layout, flush_bytes, timeout_s)
    for lane in lanes:
        _guarded(lane, _choose_count, layout, protocol, timeout_s)


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


def _prepare_events(lane: Lane, layout: Layout, flush_bytes: int, timeout_s: float) -> None:
    lane.worker.call("prepare_events", timeout_s, sets=layout.sets, flush_bytes=flush_bytes)


def _release(lane: Lane, timeout_s: float) -> None:
    answer = lane.worker.call("release", timeout_s)
    if lane.is_candidate:
        answers.check_untouched(answer)


def _choose_count(lane: Lane, layout: Layout, protocol: TimingProtocol, timeout_s: float) -> None:
    if lane.clock is Clock.HOST:
        lane.count = protocol.host_calls
        return
    if lane.clock is Clock.EVENTS:
        lane.count = len(layout.sets)
        answer = lane.worker.call("time_events", timeout_s, count=lane.count)
        per_call_us = answers.time_of(answer, "elapsed_us") / lane.count
        sets = len(layout.sets)
        # a multiple of the sets, so that each holds results of the last round
        wanted = sets * max(1, round(protocol.window_us / per_call_us / sets))
        lane.count = min(MAX_COUNT, wanted)
        return
    once_us = _replayed(lane, 2, timeout_s)
    passes = min(MAX_PASSES, math.ceil(GRAPH_US / once_us))
    if passes > 1:
        _take(lane, lane.worker.call("capture", timeout_s, sets=layout.sets, passes=passes))
        # what was asked for, whatever the worker says that it captured
        lane.calls = passes * len(layout.sets)
        once_us = _replayed(lane, 2, timeout_s)
    lane.count = min(MAX_COUNT, max(1, round(protocol.window_us / once_us)))


def _replayed(lane: Lane, count: int, timeout_s: float) -> float:
    answer = lane.worker.call("replay", timeout_s, count=count, poison=None)
    return max(answers.time_of(answer, "elapsed_us") / count, 1e-3)


def _round(
    lane: Lane, poison: int | None, generator: np.random.Generator, timeout_s: float
) -> None:
    count = lane.count
    if lane.clock is Clock.GRAPH:
        count = _jittered(count, generator)
        begin = time.perf_counter()
        answer = lane.worker.call("replay", timeout_s, count=count, poison=poison)
        if poison is None:
            claimed_us = answers.time_of(answer, "elapsed_us")
            lane.claimed_us.append(claimed_us)
            lane.gaps_us.append((time.perf_counter() - begin) * 1e6 - claimed_us)
    else:
        command = "time_events" if lane.clock is Clock.EVENTS else "time_burst"
        answer = lane.worker.call(command, timeout_s, count=count)
    lane.rounds_us.append(answers.time_of(answer, "elapsed_us") / (count * lane.calls))


def _verify_capture(setting: Setting, lanes: Sequence[Lane]) -> None:
    """Compare what the candidate's graph computes on every distribution.

    It was verified where it was called, and a kernel may do less where it is captured.
    """
    # the baseline's own error is what the candidate's is judged by
    roles = (Role.CANDIDATE, Role.BASELINE)
    watched = [lane for lane in lanes if lane.worker.implementation.role in roles]
    for distribution in setting.spec.distributions:
        fresh, decoy = setting.draw(distribution), setting.ordinary()
        results: Results = {}
        for lane in watched:
            run = functools.partial(
                lane.worker.call,
                "replay",
                setting.timeout_s,
                count=1,
                poison=_poison(setting.generator),
            )
            _guarded(lane, _on_values, setting, setting.mixed, fresh, decoy, run, results)
        setting.kept[setting.mixed] = decoy
        _fail_wrong(
            watched, setting.judge(fresh, results), f"a captured call on {distribution} values"
        )
    for lane in lanes:
        setting.layout.write(lane.worker.arena, setting.mixed, setting.kept[setting.mixed])
    torch.cuda.synchronize()


def _on_values(
    lane: Lane,
    setting: Setting,
    index: int,
    fresh: list[object] | None,
    decoy: list[object] | None,
    run: Callable[[], object],
    results: Results,
) -> None:
    """Run a lane with fresh values in one of its sets, and keep what it made of them.

    None of them leaves what lies there.
    """
    layout = setting.layout
    if fresh is not None:
        layout.write(lane.worker.arena, index, fresh)
        torch.cuda.synchronize()
    run()
    if decoy is not None:
        # the fresh values are gone before anybody asks for what became of them
        layout.write(lane.worker.arena, index, decoy)
        torch.cuda.synchronize()
    answer = lane.worker.call("export", setting.timeout_s, index=index, outputs=layout.outputs)
    if not answers.flag_of(answer, "copied"):
        raise WorkerFailedError(
            Status.STALE_RESULT, f"a timed call at {_label(layout)} left no result"
        )
    results[lane.name] = [tensor.clone() for tensor in layout.results(lane.worker.arena)]


def _poison(generator: np.random.Generator) -> int:
    return int(generator.integers(1, 256))


def _fail_wrong(lanes: Sequence[Lane], reasons: dict[str, str], what: str) -> None:
    for lane in lanes:
        if lane.name in reasons and lane.failure is None:
            lane.failure = WorkerFailedError(
                Status.STALE_RESULT, f"the result of {what} was wrong: {reasons[lane.name]}"
            )


def _check_clock(
    lane: Lane, protocol: TimingProtocol, generator: np.random.Generator, timeout_s: float
) -> None:
    """Time two counts of replays from outside: what both cost alike cancels in the difference.

    They are asked for like any round, so a worker cannot tell which replays are checked. Both
    clocks watch the same replays, so a GPU that throttles meanwhile does not come between them.
    """
    once_us = lane.median_us * lane.calls
    seen = []
    for attempt in range(CLOCK_TRIES):
        span_us = CLOCK_SPAN_US * 2**attempt
        few = _jittered(lane.count, generator)
        wanted = math.ceil(span_us / once_us * generator.uniform(1, 1.3))
        more = min(MAX_COUNT, max(1, wanted))
        by_referee_us, by_worker_us = [], []
        for count in (few, few + more):
            begin = time.perf_counter()
            answer = lane.worker.call("replay", timeout_s, count=count, poison=None)
            by_referee_us.append((time.perf_counter() - begin) * 1e6)
            by_worker_us.append(answers.time_of(answer, "elapsed_us"))
        referee_us, worker_us = (
            (times[1] - times[0]) / (more * lane.calls) for times in (by_referee_us, by_worker_us)
        )
        lane.referee_us = referee_us
        gap_us = max(
            referee - worker for referee, worker in zip(by_referee_us, by_worker_us, strict=True)
        )
        seen.append(f"{worker_us:.2f} and {referee_us:.2f}")
        if abs(referee_us - worker_us) <= protocol.max_clock_disagreement * abs(referee_us):
            _check_rounds(lane, gap_us)
            return
    raise WorkerFailedError(
        Status.CLOCK_MISMATCH,
        f"the worker's clock and the referee's disagree on the same replays in {CLOCK_TRIES} tries:"
        f" {'; '.join(seen)} us a call; {protocol.max_clock_disagreement:.0%} apart is allowed",
    )


def _check_rounds(lane: Lane, gap_us: float) -> None:
    """Raise where the rounds hid more time than the check, in which the worker told the truth."""
    hidden_us = float(np.median(lane.gaps_us)) - max(gap_us, 0.0)
    claimed_us = float(np.median(lane.claimed_us))
    if hidden_us > MAX_HIDDEN_SHARE * claimed_us:
        raise WorkerFailedError(
            Status.CLOCK_MISMATCH,
            f"a round took {hidden_us:.0f} us more than the {claimed_us:.0f} us that the worker"
            f" told of; {MAX_HIDDEN_SHARE:.0%} are allowed",
        )


def _jittered(count: int, generator: np.random.Generator) -> int:
    """A count within a quarter of another, so that no count tells a round from a check."""
    return max(1, round(count * generator.uniform(0.75, 1.25)))


def _time_host(lane: Lane, protocol: TimingProtocol, timeout_s: float) -> None:
    begin = time.perf_counter()
    answer = lane.worker.call("time_host", timeout_s, count=protocol.host_calls)
    wall_us = (time.perf_counter() - begin) * 1e6
    times = answers.times_of(answer, "times_us", protocol.host_calls)
    if sum(times) < LEAST_HOST_SHARE * wall_us - HOST_SLACK_US:
        raise WorkerFailedError(
            Status.CLOCK_MISMATCH,
            f"{protocol.host_calls} calls took {wall_us:.0f} us, and the worker told of"
            f" {sum(times):.0f} us",
        )
    lane.host_us = float(np.median(times))


def _label(layout: Layout) -> str:
    return "x".join(map(str, layout.outputs[0]["shape"]))
