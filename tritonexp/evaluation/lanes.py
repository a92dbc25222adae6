"""The way of each implementation through the timing of one size, and what they share on it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec

import numpy as np
import torch

from tritonexp.evaluation import answers, inputs
from tritonexp.evaluation.clocks import ClockReader
from tritonexp.evaluation.layout import Layout
from tritonexp.evaluation.process import WorkerFailedError, WorkerProcess
from tritonexp.evaluation.quiet import Probe
from tritonexp.operations import Spec
from tritonexp.records import Clock, Role, Size, Status, TimingProtocol

# makes fresh arguments of a distribution on the GPU
Draw = Callable[[str], list[object]]
Results = dict[str, list[torch.Tensor]]
# judges one replay's results of every lane against float64: (fresh arguments, results by name)
# -> the reason why a lane's are wrong, by name
ResultsJudge = Callable[[list[object], Results], dict[str, str]]

# relative
JITTER = 0.25

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Doubt:
    """How far what a worker said of a round's time is beyond what can be believed."""

    # below 0 for one that there is no doubt of
    excess_us: float
    reason: str


@dataclass
class Lane:
    """One implementation's way through the rounds of one size."""

    worker: WorkerProcess
    clock: Clock
    calls: int = 1  # calls in one replay or request
    replays: float = 1.0  # of a graph in one round, about
    count: int = 1  # calls in one round where there is no graph
    rounds_us: list[float] = field(default_factory=list)
    # of plain rounds: what a worker says that its replays took, and what else went by, see gap_of
    claimed_us: list[float] = field(default_factory=list)
    gaps_us: list[float] = field(default_factory=list)
    # of them those of turns that came right after one of the candidate's
    after_us: list[float] = field(default_factory=list)
    # of the candidate and the baseline: how long threads of the process were busy beside the one
    # that serves
    threads_us: list[float] = field(default_factory=list)
    # of rounds by a clock that is the worker's own
    doubts: list[Doubt] = field(default_factory=list)
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


@dataclass
class Setting:
    """What the lanes of one size share."""

    spec: Spec
    size: Size
    layout: Layout
    protocol: TimingProtocol
    draw: Draw
    judge: ResultsJudge
    clocks: ClockReader
    probe: Probe
    timeout_s: float
    generator: np.random.Generator
    # two of the sets that are timed: one stays as it is, in the other a part is changed
    witness: int = 0
    mixed: int = 0
    # what lies in those two
    kept: dict[int, list[object]] = field(default_factory=dict)

    @property
    def sets(self) -> list[list[dict[str, Any]]]:
        """The sets of arguments that calls are timed on."""
        return self.layout.sets[:-1]

    @property
    def spare(self) -> int:
        """The index of the one set of arguments that no call is timed on."""
        return len(self.layout.sets) - 1

    def ordinary(self) -> list[object]:
        """Fresh arguments like those that are timed."""
        return self.draw(inputs.ordinary(self.spec))

    def poison(self) -> int:
        """A byte to overwrite results with."""
        return int(self.generator.integers(1, 256))

    def jittered(self, lane: Lane) -> int:
        """About as many replays as are a round of a lane; no number tells a round from a check."""
        least = max(1, round((1 - JITTER) * lane.replays))
        return int(self.generator.integers(least, self._most(lane, least) + 1))

    def up_to_a_round(self, lane: Lane) -> int:
        """So many that any replay of a lane's rounds may be the last, whose results are seen."""
        return int(self.generator.integers(1, self._most(lane, 1) + 1))

    def _most(self, lane: Lane, least: int) -> int:
        most = max(least, round((1 + JITTER) * lane.replays))
        # nobody else looks for what tells rounds apart
        return max(most, least + 1) if lane.is_candidate else most


def guarded(
    step: Callable[Concatenate[Lane, _P], object],
    lane: Lane,
    *arguments: _P.args,
    **named: _P.kwargs,
) -> None:
    """Take a step of a lane that has not failed yet, and keep its failure."""
    if lane.failure is None:
        try:
            step(lane, *arguments, **named)
        except WorkerFailedError as failure:
            lane.failure = failure


@contextlib.contextmanager
def in_turn(lane: Lane, lanes: Sequence[Lane]) -> Iterator[None]:
    """Have the candidate among `lanes` stand still where it is another's turn."""
    candidate = next((one for one in lanes if one.is_candidate), None)
    if candidate is None or candidate is lane or not candidate.worker.alive:
        yield
    else:
        with candidate.worker.paused():
            yield


def write(lane: Lane, setting: Setting, values: Mapping[int, list[object]]) -> None:
    """Put values into sets of a lane, by index; they are there when this returns."""
    for index, value in values.items():
        setting.layout.write(lane.worker.arena, index, value)
    torch.cuda.synchronize()


def read_results(lane: Lane, setting: Setting, index: int, results: Results) -> None:
    """Keep what a lane's last call on one of its sets made."""
    layout = setting.layout
    answer = lane.worker.call("export", setting.timeout_s, index=index, outputs=layout.outputs)
    if not answers.flag_of(answer, "copied"):
        raise WorkerFailedError(
            Status.STALE_RESULT, f"a timed call at {setting.size.label} left no result"
        )
    results[lane.name] = [tensor.clone() for tensor in layout.results(lane.worker.arena)]
    # where others keep the GPU busy a copy waits, and the worker's next would be taken for this one
    torch.cuda.synchronize()


def fail_wrong(lanes: Sequence[Lane], reasons: dict[str, str], what: str) -> None:
    """Fail the lanes whose results were judged wrong."""
    for lane in lanes:
        if lane.name in reasons and lane.failure is None:
            lane.failure = WorkerFailedError(
                Status.STALE_RESULT, f"the result of {what} was wrong: {reasons[lane.name]}"
            )
