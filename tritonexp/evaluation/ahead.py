"""Has what a candidate's cases launch compiled before a worker runs them, side by side.

A context of the GPU takes a tenth of a second, and those of many processes get in each other's way,
while compiling is work for the host's cores. So compilers do without (see compiler.py), and the few
workers find in their crew's cache what they launch.

Does not cover what a compiler cannot find out without the GPU: a group of cases that it fails on,
or takes too long for, is left to the workers as it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tritonexp.evaluation import answers
from tritonexp.evaluation.offline.parent import call_of
from tritonexp.evaluation.process import ChildProcess, WorkerFailedError
from tritonexp.operations import Spec
from tritonexp.records import Case, to_json

# an autotuner's many configurations take longer, and the worker that tunes them finds most of them
PATIENCE_S = 20.0

Kind = tuple[str, str]  # size and dtype, by which kernels are specialised


@dataclass
class Desk:
    """A compiler and what it is at; its first task is to import the file."""

    compiler: ChildProcess
    begin_s: float
    group: list[Case] | None = None
    is_busy: bool = True

    @property
    def limit_s(self) -> float:
        """When it has taken too long, by the performance counter."""
        return self.begin_s + PATIENCE_S


class CompileAhead:
    """Groups of cases, each of one size and dtype, that become ready as they are compiled.

    Where there are no compilers, all are ready at once.
    """

    def __init__(
        self,
        compilers: Sequence[ChildProcess],
        spec: Spec,
        groups: Sequence[list[Case]],
        others: Sequence[list[Case]] = (),
    ) -> None:
        """`others` are compiled too and never ready, since they are taken in another way."""
        self.ready: deque[list[Case]] = deque()
        self._spec = spec
        kinds = {_kind_of(group) for group in groups}
        more = [group for group in others if _kind_of(group) not in kinds]
        # these are larger, and so last
        self._waiting = deque([*groups, *more])
        self._more = {_kind_of(group) for group in more}
        begin_s = time.perf_counter()
        self._desks = [Desk(compiler, begin_s) for compiler in compilers]
        # of each kind: all that its call took, and what of it Triton's compiler took
        self._spent: dict[Kind, tuple[float, float]] = {}

    @property
    def busy(self) -> list[Desk]:
        """The desks that something is expected of."""
        return [desk for desk in self._desks if desk.is_busy]

    def spent_on(self, case: Case) -> tuple[float, float]:
        """Seconds of a call that were gone before, and of them those of Triton's compiler."""
        return self._spent.get((case.size.label, case.dtype), (0.0, 0.0))

    def step(self) -> None:
        """Give idle compilers something to do; without any, nothing is worth waiting for."""
        for desk in self._desks:
            if self._waiting and not desk.is_busy:
                desk.group = self._waiting.popleft()
                desk.begin_s, desk.is_busy = time.perf_counter(), True
                case = desk.group[0]
                call = call_of(self._spec, case.size, case.dtype)
                desk.compiler.ask("compile", call=to_json(call))
        while self._waiting and not self._desks:
            self._release(self._waiting.popleft())

    def conclude(self, desk: Desk) -> None:
        """Take the answer of a compiler that has one, or is over its limit."""
        group, desk.group, desk.is_busy = desk.group, None, False
        try:
            answer = desk.compiler.answer(max(0.0, desk.limit_s - time.perf_counter()), PATIENCE_S)
            if group is not None:
                compile_s, _ = answers.compiling_of(answer)
                # what the process says is no more than its share of what went by here
                took_s = time.perf_counter() - desk.begin_s
                self._spent[_kind_of(group)] = took_s, min(took_s, compile_s or 0.0)
        except WorkerFailedError:
            # the worker that takes the group finds out what is wrong with it, if anything is
            if group is None or not desk.compiler.alive:
                desk.compiler.close()
                self._desks.remove(desk)
        if group is not None:
            self._release(group)

    def close(self) -> None:
        """End the compilers, and leave what was not compiled to the workers."""
        for desk in self._desks:
            desk.compiler.kill()
        self._desks.clear()

    def _release(self, group: list[Case]) -> None:
        if _kind_of(group) not in self._more:
            self.ready.append(group)


def _kind_of(group: Sequence[Case]) -> Kind:
    return group[0].size.label, group[0].dtype
