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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
VERIFIED_ROUNDS = 2
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
    host_us: float | None = None
    referee_us: float | None = None
    failure: WorkerFailedError | None = None

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self.worker.implementation.name

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
    lanes = [Lane(worker, protocol.clock) for worker in workers]
    for index in range(len(layout.sets)):
        values = draw(inputs.ordinary(spec))
        for lane in lanes:
            layout.write(lane.worker.arena, index, values)
    torch.cuda.synchronize()
    _prepare(lanes, layout, protocol, gpu, timeout_s)
    generator = np.random.default_rng(secrets.randbits(64))
    if protocol.clock is Clock.GRAPH:
        _verify_capture(lanes, layout, spec, draw, judge, generator, timeout_s)
    verified = set(generator.choice(protocol.rounds, VERIFIED_ROUNDS, replace=False).tolist())
    for number in range(protocol.rounds):
        order = generator.permutation(len(lanes))
        if number in verified:
            taken = [lanes[i] for i in order]
            fresh = draw(str(generator.choice(spec.distributions)))
            decoy = draw(inputs.ordinary(spec))
            _verified_round(taken, layout, fresh, decoy, judge, generator, timeout_s)
        else:
            for lane in (lanes[i] for i in order):
                _guarded(lane, _round, None, generator, timeout_s)
    for lane in lanes:
        if lane.clock is Clock.GRAPH:
            _guarded(lane, _check_clock, protocol, generator, timeout_s)
        if protocol.clock is not Clock.HOST:
            _guarded(lane, _time_host, protocol, timeout_s)
        _guarded(lane, _release, timeout_s)
    return lanes


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
        lane.worker.answer(timeout_s)
    except WorkerFailedError as failure:
        # it ran eagerly when it was verified, so what fails is the capture
        if failure.status is not Status.RUNTIME_ERROR or not lane.worker.alive:
            raise
        failures.append(f"{lane.name}: {failure.reason}")


def _prepare_events(lane: Lane, layout: Layout, flush_bytes: int, timeout_s: float) -> None:
    lane.worker.call("prepare_events", timeout_s, sets=layout.sets, flush_bytes=flush_bytes)


def _release(lane: Lane, timeout_s: float) -> None:
    lane.worker.call("release", timeout_s)


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
        lane.worker.call("capture", timeout_s, sets=layout.sets, passes=passes)
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
        answer = lane.worker.call("replay", timeout_s, count=count, poison=poison)
    else:
        command = "time_events" if lane.clock is Clock.EVENTS else "time_burst"
        answer = lane.worker.call(command, timeout_s, count=count)
    lane.rounds_us.append(answers.time_of(answer, "elapsed_us") / (count * lane.calls))


def _verified_round(
    lanes: list[Lane],
    layout: Layout,
    fresh: list[object],
    decoy: list[object],
    judge: ResultsJudge,
    generator: np.random.Generator,
    timeout_s: float,
) -> None:
    """A round like any other, but on fresh values and with its results compared."""
    results: Results = {}
    for lane in lanes:
        index = int(generator.integers(len(layout.sets)))
        run = functools.partial(_round, lane, _poison(generator), generator, timeout_s)
        _guarded(lane, _on_values, layout, index, fresh, decoy, run, results, timeout_s)
    _fail_wrong(lanes, judge(fresh, results), "a timed call on fresh values")


def _verify_capture(
    lanes: list[Lane],
    layout: Layout,
    spec: Spec,
    draw: Draw,
    judge: ResultsJudge,
    generator: np.random.Generator,
    timeout_s: float,
) -> None:
    """Compare what the candidate's graph computes on every distribution.

    It was verified where it was called, and a kernel may do less where it is captured.
    """
    # the baseline's own error is what the candidate's is judged by
    roles = (Role.CANDIDATE, Role.BASELINE)
    watched = [lane for lane in lanes if lane.worker.implementation.role in roles]
    for distribution in spec.distributions:
        fresh, decoy = draw(distribution), draw(inputs.ordinary(spec))
        index = int(generator.integers(len(layout.sets)))
        results: Results = {}
        for lane in watched:
            run = functools.partial(
                lane.worker.call, "replay", timeout_s, count=1, poison=_poison(generator)
            )
            _guarded(lane, _on_values, layout, index, fresh, decoy, run, results, timeout_s)
        _fail_wrong(watched, judge(fresh, results), f"a captured call on {distribution} values")


def _on_values(
    lane: Lane,
    layout: Layout,
    index: int,
    fresh: list[object],
    decoy: list[object],
    run: Callable[[], object],
    results: Results,
    timeout_s: float,
) -> None:
    """Run a lane with fresh values in one of its sets, and keep what it made of them."""
    layout.write(lane.worker.arena, index, fresh)
    torch.cuda.synchronize()
    run()
    # the fresh values are gone before anybody asks for what became of them
    layout.write(lane.worker.arena, index, decoy)
    torch.cuda.synchronize()
    answer = lane.worker.call("export", timeout_s, index=index, outputs=layout.outputs)
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
        seen.append(f"{worker_us:.2f} and {referee_us:.2f}")
        if abs(referee_us - worker_us) <= protocol.max_clock_disagreement * abs(referee_us):
            return
    raise WorkerFailedError(
        Status.CLOCK_MISMATCH,
        f"the worker's clock and the referee's disagree on the same replays in {CLOCK_TRIES} tries:"
        f" {'; '.join(seen)} us a call; {protocol.max_clock_disagreement:.0%} apart is allowed",
    )


def _jittered(count: int, generator: np.random.Generator) -> int:
    """A count within a quarter of another, so that no count tells a round from a check."""
    return max(1, round(count * generator.uniform(0.75, 1.25)))


def _time_host(lane: Lane, protocol: TimingProtocol, timeout_s: float) -> None:
    answer = lane.worker.call("time_host", timeout_s, count=protocol.host_calls)
    times = answers.times_of(answer, "times_us", protocol.host_calls)
    lane.host_us = float(np.median(times))


def _label(layout: Layout) -> str:
    return "x".join(map(str, layout.outputs[0]["shape"]))
