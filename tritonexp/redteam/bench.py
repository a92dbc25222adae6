"""Have a referee judge the fixtures, one after another, and open a new one where it breaks.

On a GPU several can be at work at once: they verify side by side, and each times alone. Fixtures
that take too much of the machine for that are judged one after the other.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from itertools import groupby
from types import TracebackType
from typing import Any, Protocol, Self

from tritonexp import operations
from tritonexp.protocols import Upcoming
from tritonexp.records import (
    Clock,
    Environment,
    Evaluation,
    Implementation,
    Mode,
    Role,
    Status,
    TimingProtocol,
)
from tritonexp.redteam.findings import Verdict
from tritonexp.redteam.fixtures import ATTACK, Fixture, applying

# the study's smaller two: enough to see whether a kernel is caught, whatever its speed
LADDER = ((1024, 1024), (2048, 2048))
# conf/timing/device.yaml but for the rounds, which are few, since no speed is told here
PROTOCOL = TimingProtocol(
    name="device",
    clock=Clock.GRAPH,
    rounds=8,
    max_rounds=8,
    window_us=1200.0,
    host_calls=30,
    cold_factor=4.0,
    margin=0.01,
    max_clock_disagreement=0.05,
    max_fraction_of_ceiling=1.0526,
)
# many fixtures sleep or loop for minutes, and an honest call takes milliseconds
TIMEOUT_S = 10.0


class Judge(Protocol):
    """What the red team asks of an opened referee."""

    def wait_ready(self) -> None:
        """Return once it can judge at once."""

    def evaluate(self, candidate: Implementation, upcoming: Upcoming | None = None) -> Evaluation:
        """Judge a candidate, and have the next one made ready meanwhile, where it is known."""

    def close(self) -> None:
        """End what it started."""


def mode_here() -> Mode:
    """Where kernels are judged on this machine."""
    from tritonexp.evaluation import environment

    return Mode.GPU if environment.find_gpu() else Mode.INTERPRETER


def environment_here(*, sandbox: bool) -> Environment:
    """Where a run is made that starts now."""
    from tritonexp.evaluation import confinement, environment
    from tritonexp.evaluation.sandbox import DESCRIPTION_OF_OFF

    return environment.describe(
        environment.find_gpu(), confinement.description() if sandbox else DESCRIPTION_OF_OFF
    )


def judge(
    fixtures: Sequence[Fixture],
    mode: Mode,
    *,
    sandbox: bool = True,
    timeout_s: float = TIMEOUT_S,
    jobs: int = 1,
) -> Iterator[Verdict]:
    """Judge those fixtures that apply, each verdict as soon as it is there, with `jobs` processes.

    Raises what opening a referee raises, and nothing after that: a referee that then breaks is a
    finding.
    """
    chosen = applying(fixtures, mode)
    if jobs > 1:
        together = [fixture for fixture in chosen if not fixture.alone]
        yield from _judge_together(together, mode, jobs, sandbox=sandbox, timeout_s=timeout_s)
        chosen = tuple(fixture for fixture in chosen if fixture.alone)
    for name, group in groupby(chosen, key=lambda fixture: fixture.operation):
        with Bench(operations.load(name), mode, sandbox=sandbox, timeout_s=timeout_s) as bench:
            here = list(group)
            for fixture, following in zip(here, [*here[1:], None], strict=True):
                yield bench.judge(fixture, following)


def _judge_together(
    fixtures: Sequence[Fixture], mode: Mode, jobs: int, *, sandbox: bool, timeout_s: float
) -> Iterator[Verdict]:
    from tritonexp.evaluation import confinement

    if sandbox:
        # in the processes it would be told of each fixture
        confinement.check()
    cores = max(1, len(os.sched_getaffinity(0)) // jobs)
    arguments = (mode, sandbox, timeout_s, cores)
    left = list(fixtures)
    for verdict in _judged_in_pool(left, jobs, arguments):
        left.remove(verdict.fixture)
        yield verdict
    # a process that died took the others with it: now each by itself
    for fixture in left:
        found = list(_judged_in_pool([fixture], 1, arguments))
        yield found[0] if found else _unjudged(fixture, mode)


def _judged_in_pool(
    fixtures: Sequence[Fixture], jobs: int, arguments: tuple[Mode, bool, float, int]
) -> Iterator[Verdict]:
    """The verdicts of processes, until one of these dies."""
    # started anew and not forked: a process that has touched CUDA cannot be
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=atexit.register, initargs=(_close_benches,)
    )
    with pool:
        asked = [pool.submit(_judge_one, fixture, *arguments) for fixture in fixtures]
        try:
            for verdict in as_completed(asked):
                yield verdict.result()
        except BrokenProcessPool:
            return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _unjudged(fixture: Fixture, mode: Mode) -> Verdict:
    return Verdict(
        fixture=fixture,
        named=fixture.named(mode),
        status=None,
        reason="the process that judged it died",
        log="",
        seconds=0.0,
        aftermath="",
    )


# of a process that judges beside others: one, for the operation that it judged last
_benches: dict[str, Bench] = {}


def _judge_one(
    fixture: Fixture, mode: Mode, sandbox: bool, timeout_s: float, cores: int
) -> Verdict:
    if fixture.operation not in _benches:
        _close_benches()
        _benches[fixture.operation] = Bench(
            operations.load(fixture.operation),
            mode,
            sandbox=sandbox,
            timeout_s=timeout_s,
            verifies_alone=False,
            cores=cores,
        )
    return _benches[fixture.operation].judge(fixture)


def _close_benches() -> None:
    for bench in _benches.values():
        bench.close()
    _benches.clear()


class Bench:
    """One referee before which the fixtures of an operation come one after another."""

    def __init__(
        self,
        operation: operations.Operation,
        mode: Mode,
        *,
        sandbox: bool = True,
        timeout_s: float = TIMEOUT_S,
        **arguments: Any,
    ) -> None:
        """`arguments` are those of a referee that differ from a run's."""
        self.operation = operation
        self.mode = mode
        self._arguments: dict[str, Any] = {
            "operation": operation,
            "sizes": tuple(operation.spec.size(extents) for extents in LADDER),
            "protocol": PROTOCOL,
            "expert": "none",
            "contenders": (),
            "timeout_s": timeout_s,
            "sandbox": sandbox,
            "counts_traffic": False,
            **arguments,
        }
        self._referee: Judge | None = None

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the referee; the next fixture gets a new one."""
        referee, self._referee = self._referee, None
        # one that broke has been told of; that it cannot be closed either adds nothing
        with contextlib.suppress(Exception):
            if referee is not None:
                referee.close()

    def judge(self, fixture: Fixture, following: Fixture | None = None) -> Verdict:
        """Judge a fixture and, after an attack, a right kernel by the same referee.

        `following` is the fixture that comes next, where that is known.
        """
        is_attack = fixture.family == ATTACK
        upcoming: Upcoming | None = None
        # what takes much of the machine would disturb the timing of the one before it
        if following is not None and not following.alone:
            upcoming = following.candidate
        after = self._right_kernel if is_attack else upcoming
        begin = time.perf_counter()
        # and leaves no room for anybody's workers
        status, reason, log = self._evaluate(fixture.candidate(), None if fixture.alone else after)
        seconds = time.perf_counter() - begin
        return Verdict(
            fixture=fixture,
            named=fixture.named(self.mode),
            status=status,
            reason=reason,
            log=log,
            seconds=seconds,
            aftermath=self._aftermath(upcoming) if is_attack else "",
        )

    def _right_kernel(self) -> Implementation:
        house = next(item for item in self.operation.contenders if item.name == "house")
        return dataclasses.replace(house, name="candidate", role=Role.CANDIDATE)

    def _aftermath(self, upcoming: Upcoming | None) -> str:
        status, reason, _ = self._evaluate(self._right_kernel(), upcoming)
        if status is Status.CORRECT:
            return ""
        found = "none" if status is None else status.value
        return f"a right kernel after it was not CORRECT but {found} ({reason})"

    def _evaluate(
        self, candidate: Implementation, upcoming: Upcoming | None
    ) -> tuple[Status | None, str, str]:
        try:
            trial = self._opened().evaluate(candidate, upcoming).candidate
        except Exception as error:  # noqa: BLE001 - whatever makes the referee raise is a finding
            self.close()
            return None, f"{type(error).__name__}: {error}", traceback.format_exc()
        return trial.status, trial.reason, trial.log

    def _opened(self) -> Judge:
        if self._referee is None:
            self._referee = _referee()(**self._arguments)
            # so that no fixture's time holds the imports
            self._referee.wait_ready()
        return self._referee


def _referee() -> Callable[..., Judge]:
    from tritonexp.evaluation import Referee

    return Referee
