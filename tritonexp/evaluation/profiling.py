"""The hardware profiler that a run asks for, beside a referee: what it measures of timed trials.

What is not there, or not allowed, is a reason in the record; the run goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tritonexp.errors import ConfigError
from tritonexp.evaluation import ncu
from tritonexp.operations import Operation
from tritonexp.records import DramTraffic, Profile, Role, Size, Status, Trial

TOOLS = ("ncu",)
# of one call: ncu starts slowly, and the file compiles once more
TIMEOUT_S = 120.0


class Profiler:
    """Adds what a profiler measures to trials; what it found of a reference it keeps.

    Raises ConfigError for a tool that is not known; None asks for none.
    """

    def __init__(
        self,
        tool: str | None,
        operation: Operation,
        sizes: Sequence[Size],
        *,
        has_gpu: bool,
        hidden: tuple[str, ...] | None,
        progress: Callable[[str], None],
    ) -> None:
        """`hidden` are the modules that a candidate must not read; None for no sandbox."""
        if tool not in (None, *TOOLS):
            raise ConfigError(
                f"there is no profiler {tool!r}; there are {', '.join(TOOLS)} and none."
            )
        self._tool = tool
        self._operation = operation
        self._sizes = sizes
        self._has_gpu = has_gpu
        self._hidden = hidden
        self._progress = progress
        # of the references, by name: the same for every candidate
        self._kept: dict[str, tuple[DramTraffic, ...]] = {}

    def add_to(self, trials: Sequence[Trial]) -> tuple[list[Trial], Profile | None]:
        """The trials with what was measured of each, the candidate's first, and what came of it."""
        if self._tool is None:
            return list(trials), None
        reason = ""
        found = list(trials)
        if not self._has_gpu:
            reason = "there is no GPU here"
        elif trials[0].status is not Status.CORRECT:
            reason = f"the candidate ended as {trials[0].status}"
        else:
            try:
                program = ncu.find()
                for number, trial in enumerate(trials):
                    if trial.timings and trial.status is Status.CORRECT:
                        dram = self._measured(program, trial)
                        found[number] = dataclasses.replace(trial, dram=dram)
            except ncu.NcuUnusableError as error:
                reason = str(error)
        return found, Profile(tool=self._tool, reason=reason)

    def _measured(self, program: str, trial: Trial) -> tuple[DramTraffic, ...]:
        implementation = trial.implementation
        if implementation.name in self._kept:
            return self._kept[implementation.name]
        self._progress(f"measuring memory traffic of {implementation.name} with ncu")
        is_candidate = implementation.role is Role.CANDIDATE
        # a reference reads its own package
        hidden = self._hidden if is_candidate or self._hidden is None else ()
        spec = self._operation.spec
        found = ncu.measure(
            program,
            implementation,
            spec,
            self._sizes,
            spec.timed_dtype,
            timeout_s=TIMEOUT_S,
            hidden=hidden,
        )
        if not is_candidate:
            self._kept[implementation.name] = found
        return found
