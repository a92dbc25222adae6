"""Finds out whether implementations are right: every case, in every worker, against float64.

The referee makes a case's arguments, computes what is expected, and gives each worker its own copy.
The candidate and the baseline take every case; experts and contenders take those of the timed
sizes, since it is there that they are compared.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tritonexp.errors import ReferenceFailedError
from tritonexp.evaluation import answers, correctness, inputs
from tritonexp.evaluation.layout import Layout, lay_out
from tritonexp.evaluation.memory import same_bits
from tritonexp.evaluation.process import WorkerFailedError, WorkerProcess
from tritonexp.evaluation.source_checks import triton_kernels
from tritonexp.operations import Operation
from tritonexp.records import Case, CaseResult, Role, Size, Status

# enough to see what a wrong kernel has in common
MAX_FAILED_CASES = 3


@dataclass
class Subject:
    """One implementation under verification, and what was found so far."""

    worker: WorkerProcess
    # more workers of a candidate: its untimed cases are compiled and run side by side
    scouts: list[WorkerProcess] = field(default_factory=list)
    cases: list[CaseResult] = field(default_factory=list)
    failure: WorkerFailedError | None = None
    failed_cases: int = 0
    launched: Counter[str] = field(default_factory=Counter)
    first_call_s: float | None = None

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self.worker.implementation.name

    @property
    def role(self) -> Role:
        """The implementation's role."""
        return self.worker.implementation.role

    @property
    def workers(self) -> list[WorkerProcess]:
        """All of them."""
        return [self.worker, *self.scouts]

    @property
    def done(self) -> bool:
        """Whether nothing more is to be learned from it."""
        return self.failed_cases >= MAX_FAILED_CASES or not all(
            worker.alive for worker in self.workers
        )

    def fail(self, failure: WorkerFailedError) -> None:
        """Keep the first failure: the later ones often follow from it."""
        self.failed_cases += 1
        if self.failure is None:
            self.failure = failure


@dataclass
class Prepared:
    """A case with its arguments, what is expected, and what was found of the baseline."""

    case: Case
    layout: Layout
    values: list[Any]
    expected: list[torch.Tensor]
    baseline_answer: dict[str, Any] = field(default_factory=dict)
    baseline_error_ulp: float = 0.0


class Verifier:
    """Runs implementations through cases; what is found is kept in the subjects.

    Raises ReferenceFailedError where the baseline, one of the subjects, does not pass a case.
    """

    def __init__(
        self,
        operation: Operation,
        subjects: Sequence[Subject],
        device: str,
        timeout_s: float,
        progress: Callable[[str], None],
    ) -> None:
        self.operation = operation
        self.subjects = subjects
        self.device = device
        self.timeout_s = timeout_s
        self._progress = progress
        self._candidate = next(item for item in subjects if item.role is Role.CANDIDATE)
        self._baseline = next(item for item in subjects if item.role is Role.BASELINE)
        self._own_kernels = triton_kernels(self._candidate.worker.implementation.source)

    def run(self, cases: Sequence[Case], timed_sizes: Sequence[Size]) -> None:
        """Verify all; compiling takes the longest, so as much as can be is run side by side.

        In each round the candidate's scouts take an untimed case each, and the first worker of
        every subject takes a timed one; where nothing is timed, the candidate's first worker is
        a scout too.
        """
        labels = {size.label for size in timed_sizes}
        timed = [case for case in cases if case.size.label in labels]
        untimed = [case for case in cases if case.size.label not in labels]
        scouts = self._candidate.scouts if timed else []
        scouts = scouts or self._candidate.workers
        number = 0
        while (timed or untimed) and not self._candidate.done:
            case = timed[0] if timed else untimed[0]
            self._progress(
                f"verifying, case {number + 1} of {len(cases)}: {case.size.label} {case.dtype}"
            )
            # the first worker of all can only do one thing at a time
            together = timed[:1] if self._candidate.scouts or not untimed else []
            apart = untimed[: len(scouts)]
            self._round(apart, scouts, together, is_first=number == 0)
            number += len(apart) + len(together)
            timed, untimed = timed[len(together) :], untimed[len(apart) :]

    def _round(
        self,
        apart: Sequence[Case],
        scouts: Sequence[WorkerProcess],
        together: Sequence[Case],
        *,
        is_first: bool,
    ) -> None:
        """One case for each of some scouts, and for the first worker of every subject, at once."""
        running = [
            (self._prepare(case), self._candidate, scout)
            for case, scout in zip(apart, scouts, strict=False)
        ]
        for case in together:
            item = self._prepare(case)
            running += [
                (item, subject, subject.worker)
                for subject in self.subjects
                if subject is not self._baseline and not subject.done
            ]
        for item, _, worker in running:
            self._write(item, worker)
        self._settle()
        begin = time.perf_counter()
        for item, _, worker in running:
            self._ask(item, worker)
        # while they compile
        for item in {id(item): item for item, _, _ in running}.values():
            self._run_baseline(item)
        for item, subject, worker in running:
            self._conclude(item, subject, worker, begin)
        if is_first:
            for item, subject, worker in running:
                self._repeat(item, subject, worker)

    def _prepare(self, case: Case) -> Prepared:
        spec = self.operation.spec
        values = inputs.make_arguments(spec, case, self.device)
        return Prepared(
            case=case,
            layout=lay_out(spec, case.size, case.dtype, 1),
            values=values,
            expected=correctness.reference(self.operation.function, values),
        )

    def _write(self, item: Prepared, worker: WorkerProcess) -> None:
        """Give a worker its own copy of the arguments, and nothing where its results will be."""
        item.layout.write(worker.arena, 0, item.values)
        for slot in item.layout.results(worker.arena):
            slot.view(-1).view(torch.uint8).fill_(secrets.randbelow(256))

    def _settle(self) -> None:
        """Wait until what was written to the arenas is there for other processes."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def _ask(self, item: Prepared, worker: WorkerProcess) -> None:
        worker.ask(
            "run",
            arguments=item.layout.sets[0],
            outputs=item.layout.outputs,
            poison=inputs.poison_byte(secrets.randbits(32)),
            watch=worker.implementation.role is Role.CANDIDATE,
        )

    def _run_baseline(self, item: Prepared) -> None:
        subject, worker, case = self._baseline, self._baseline.worker, item.case
        self._write(item, worker)
        self._settle()
        begin = time.perf_counter()
        self._ask(item, worker)
        try:
            item.baseline_answer = worker.answer(self.timeout_s)
        except WorkerFailedError as failure:
            raise ReferenceFailedError(
                f"the baseline of {self.operation.name} failed {_at(case, failure.reason)}."
                " Nothing can be judged without it; correct the operation's baseline.py or spec.py."
            ) from failure
        if subject.first_call_s is None:
            subject.first_call_s = time.perf_counter() - begin
        outputs = item.layout.results(worker.arena)
        # the baseline is judged by its own error: only the dtype's largest allowance bounds it
        item.baseline_error_ulp = correctness.error_of(outputs, item.expected, case.dtype).error_ulp
        found = self._judged(item, worker)
        if found.status is not Status.CORRECT:
            raise ReferenceFailedError(
                f"the baseline of {self.operation.name} is wrong {_at(case, found.reason)}."
                " A case that it cannot pass judges nobody; correct the operation's spec.py."
            )
        subject.cases.append(found)

    def _conclude(
        self, item: Prepared, subject: Subject, worker: WorkerProcess, begin: float
    ) -> None:
        """Wait for a worker's answer, and judge it."""
        case = item.case
        try:
            answer = worker.answer(self.timeout_s)
            if subject.first_call_s is None:
                subject.first_call_s = time.perf_counter() - begin
            self._check(item, subject, worker, answer)
            found = self._judged(item, worker)
            if found.status is not Status.CORRECT:
                subject.fail(WorkerFailedError(found.status, _at(case, found.reason)))
        except WorkerFailedError as failure:
            subject.fail(WorkerFailedError(failure.status, _at(case, failure.reason), failure.log))
            found = _without_figures(case, failure)
        subject.cases.append(found)

    def _check(
        self, item: Prepared, subject: Subject, worker: WorkerProcess, answer: dict[str, Any]
    ) -> None:
        """Raise WorkerFailedError for what is wrong with a result apart from its numbers."""
        if subject is self._candidate:
            launched = answers.launched_of(answer)
            subject.launched.update(launched)
            if not self._own_kernels & set(launched):
                seen = ", ".join(sorted(launched)) or "none"
                own = ", ".join(sorted(self._own_kernels)) or "none"
                raise WorkerFailedError(
                    Status.NOT_TRITON,
                    f"no Triton kernel of the file was launched (it defines {own}, and launched"
                    f" {seen})",
                )
        wrong_form = correctness.check_form(
            answer, item.baseline_answer, item.layout.outputs, worker.arena.bytes.device.type
        )
        if wrong_form is None and not answers.flag_of(answer, "copied"):
            wrong_form = "the result could not be read"
        if wrong_form is not None:
            raise WorkerFailedError(Status.WRONG_FORM, wrong_form)
        if not self.operation.spec.mutates and not item.layout.unchanged(
            worker.arena, 0, item.values
        ):
            raise WorkerFailedError(
                Status.MUTATED_INPUT, "the call changed its input, which it must not"
            )

    def _judged(self, item: Prepared, worker: WorkerProcess) -> CaseResult:
        return correctness.judge(
            item.layout.results(worker.arena),
            item.expected,
            item.baseline_error_ulp,
            self.operation.spec,
            item.case,
        )

    def _repeat(self, item: Prepared, subject: Subject, worker: WorkerProcess) -> None:
        """Run the same input once more: the bits must be the same."""
        if not self.operation.spec.deterministic or subject.failure is not None:
            return
        before = [tensor.clone() for tensor in item.layout.results(worker.arena)]
        self._write(item, worker)
        self._settle()
        self._ask(item, worker)
        try:
            worker.answer(self.timeout_s)
        except WorkerFailedError as failure:
            subject.fail(
                WorkerFailedError(failure.status, _at(item.case, failure.reason), failure.log)
            )
            return
        if not all(map(same_bits, before, item.layout.results(worker.arena))):
            subject.fail(
                WorkerFailedError(
                    Status.NONDETERMINISTIC,
                    _at(item.case, "the same input gave different bits in two calls"),
                )
            )


def results_judge(
    operation: Operation, dtype: str, size: Size
) -> Callable[[list[Any], dict[str, list[torch.Tensor]]], dict[str, str]]:
    """A judge of the results of timed calls: why those of which implementation are wrong."""

    def judge(arguments: list[Any], results: dict[str, list[torch.Tensor]]) -> dict[str, str]:
        expected = correctness.reference(operation.function, arguments)
        case = Case(size=size, dtype=dtype, distribution="normal", seed=0)
        own = None
        if "baseline" in results:
            own = correctness.error_of(results["baseline"], expected, dtype).error_ulp
        found = {
            name: correctness.judge(outputs, expected, own, operation.spec, case)
            for name, outputs in results.items()
        }
        return {name: item.reason for name, item in found.items() if item.reason}

    return judge


def _without_figures(case: Case, failure: WorkerFailedError) -> CaseResult:
    return CaseResult(
        case=case,
        status=failure.status,
        reason=failure.reason,
        error_ulp=None,
        baseline_error_ulp=None,
        allowed_error_ulp=None,
        max_abs_error=None,
    )


def _at(case: Case, reason: str) -> str:
    return f"at {case.size.label} {case.dtype} ({case.distribution}): {reason}"
