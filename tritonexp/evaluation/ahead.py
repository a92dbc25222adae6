"""Has what a candidate's cases launch compiled before a worker runs them, side by side.

A context of the GPU takes a tenth of a second, and those of many processes get in each other's way,
while compiling is work for the host's cores. So compilers do without (see compiler.py), and the few
workers find in their crew's cache what they launch.

Does not cover what a compiler cannot find out without the GPU: a group of cases that it fails on,
or takes too long for, is left to the workers as it is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tritonexp.evaluation import answers
from tritonexp.evaluation.offline.parent import call_of
from tritonexp.evaluation.process import ChildProcess, WorkerFailedError
from tritonexp.operations import Spec
from tritonexp.records import Case, to_json

# a group is not waited for any longer, though what is compiled of it may still be of use
PATIENCE_S = 20.0
# nor is any group after this much of all compiling
BUDGET_S = 60.0
# asked of one compiler while nobody looks: its channel holds some 26 requests that nobody has read,
# and who asked for more would stand still until its import is over
MAX_DEALT = 8

Kind = tuple[str, str]  # size and dtype, by which kernels are specialised


@dataclass
class Task:
    """What a compiler was asked for."""

    asked_s: float
    # none where it is to import the file, or where nobody waits for it any more
    group: list[Case] | None = None


@dataclass
class Desk:
    """A compiler and what it was asked for, in turn; its first task is to import the file."""

    compiler: ChildProcess
    tasks: deque[Task]
    # since when it may be at the first of them
    begin_s: float
    # how long it may be at one of them
    patience_s: float
    # whether it has imported the file
    is_open: bool = False
    # whether it has taken too long, and nobody waits for it any more
    is_late: bool = False

    @property
    def is_busy(self) -> bool:
        """Whether it owes an answer."""
        return bool(self.tasks)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what it will answer."""
        has_use = not self.is_open or any(task.group is not None for task in self.tasks)
        return self.is_busy and not self.is_late and has_use

    @property
    def limit_s(self) -> float:
        """When it will have taken too long, by the performance counter."""
        return math.inf if self.is_late else self.begin_s + self.patience_s


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
        timeout_s: float = math.inf,
    ) -> None:
        """`others` are compiled too and never ready, since they are taken in another way.

        A compiler is waited for no longer than for a call of a worker, `timeout_s`.
        """
        self.ready: deque[list[Case]] = deque()
        self._spec = spec
        kinds = {_kind_of(group) for group in groups}
        more = [group for group in others if _kind_of(group) not in kinds]
        self._waiting = deque([*groups, *more])
        if compilers:
            # a block grows with the length of a row, and what takes long is begun early
            self._waiting = deque(sorted(self._waiting, key=lambda group: -_row_of(group)))
        self._more = {_kind_of(group) for group in more}
        now_s = time.perf_counter()
        self._end_s = now_s + BUDGET_S
        patience_s = min(PATIENCE_S, timeout_s)
        self._desks = [
            Desk(compiler, deque([Task(now_s)]), now_s, patience_s) for compiler in compilers
        ]
        # of each kind: all that its call took, and what of it Triton's compiler took
        self._spent: dict[Kind, tuple[float, float]] = {}

    @property
    def busy(self) -> list[Desk]:
        """The desks that may answer."""
        return [desk for desk in self._desks if desk.is_busy]

    @property
    def is_awaited(self) -> bool:
        """Whether something will be ready that is not yet."""
        return any(desk.is_awaited for desk in self._desks)

    def spent_on(self, case: Case) -> tuple[float, float]:
        """Seconds of a call that were gone before, and of them those of Triton's compiler."""
        return self._spent.get((case.size.label, case.dtype), (0.0, 0.0))

    def deal(self) -> None:
        """Ask for much at once, in equal shares, for who is going to look later.

        What is beyond MAX_DEALT of each waits for `step`.
        """
        for _ in range(MAX_DEALT):
            for desk in self._desks[: len(self._waiting)]:
                self._give(desk, self._waiting.popleft())

    def resume(self) -> None:
        """Look at it from now on: what was asked for before is given its time anew."""
        now_s = time.perf_counter()
        self._end_s = now_s + BUDGET_S
        for desk in self._desks:
            desk.begin_s = now_s

    def step(self) -> None:
        """Give idle compilers something to do; where none is left, nothing is worth waiting for."""
        if time.perf_counter() < self._end_s:
            for desk in self._desks:
                if self._waiting and not desk.is_busy:
                    self._give(desk, self._waiting.popleft())
            if self.is_awaited:
                return
        else:
            for desk in self.busy:
                self._give_up(desk)
        while self._waiting:
            self._release(self._waiting.popleft())

    def conclude(self, desk: Desk, *, is_ready: bool) -> None:
        """Take the answer of a compiler that has one, or wait no longer for one that is late."""
        if is_ready:
            self._take_answer(desk)
        else:
            # what it would come to later is no more to be waited for than what it is at
            self._give_up(desk)

    def close(self) -> None:
        """End the compilers, and leave what was not compiled to the workers."""
        for desk in self._desks:
            desk.compiler.kill()
        self._desks.clear()

    def _give_up(self, desk: Desk) -> None:
        desk.is_late = True
        for task in desk.tasks:
            group, task.group = task.group, None
            if group is not None:
                self._release(group)

    def _give(self, desk: Desk, group: list[Case]) -> None:
        now_s = time.perf_counter()
        if not desk.is_busy:
            desk.begin_s = now_s
        desk.tasks.append(Task(now_s, group))
        call = call_of(self._spec, group[0].size, group[0].dtype)
        desk.compiler.ask("compile", call=to_json(call))

    def _take_answer(self, desk: Desk) -> None:
        task = desk.tasks.popleft()
        was_open, desk.is_open = desk.is_open, True
        desk.is_late, desk.begin_s = False, time.perf_counter()
        try:
            answer = desk.compiler.answer(desk.patience_s)
            if task.group is not None:
                took_s = answers.time_of(answer, "elapsed_s")
                compile_s, _ = answers.compiling_of(answer)
                # what the process says is no more than what went by here
                took_s = min(took_s, time.perf_counter() - task.asked_s)
                self._spent[_kind_of(task.group)] = took_s, min(took_s, compile_s or 0.0)
        except WorkerFailedError:
            # the worker that takes the group finds out what is wrong with it, if anything is
            if not was_open or not desk.compiler.alive:
                desk.compiler.close()
                self._desks.remove(desk)
                # for who is left
                self._waiting.extend(item.group for item in desk.tasks if item.group is not None)
        if task.group is not None:
            self._release(task.group)

    def _release(self, group: list[Case]) -> None:
        if _kind_of(group) not in self._more:
            self.ready.append(group)


def _row_of(group: Sequence[Case]) -> int:
    return group[0].size.extents[-1]


def _kind_of(group: Sequence[Case]) -> Kind:
    return group[0].size.label, group[0].dtype
