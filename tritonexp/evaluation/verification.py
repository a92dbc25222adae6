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
from tritonexp.evaluation import correctness, inputs
from tritonexp.evaluation.layout import Layout, lay_out
from tritonexp.evaluation.memory import same_bits
from tritonexp.evaluation.process import WorkerFailedError, WorkerProcess
from tritonexp.operations import Operation
from tritonexp.records import Case, CaseResult, Role, Size, Status

# enough to see what a wrong kernel has in common
MAX_FAILED_CASES = 3


@dataclass
class Subject:
    """One implementation under verification, and what was found so far."""

    worker: WorkerProcess
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
    def done(self) -> bool:
        """Whether nothing more is to be learned from it."""
        return not self.worker.alive or self.failed_cases >= MAX_FAILED_CASES

    def fail(self, failure: WorkerFailedError) -> None:
        """Keep the first failure: the later ones often follow from it."""
        self.failed_cases += 1
        if self.failure is None:
            self.failure = failure


def verify(
    operation: Operation,
    cases: Sequence[Case],
    timed_sizes: Sequence[Size],
    subjects: Sequence[Subject],
    device: str,
    timeout_s: float,
    progress: Callable[[str], None],
) -> None:
    """Run subjects, the baseline among them, through cases; what is found is kept in them.

    Raises ReferenceFailedError where the baseline does not run.
    """
    timed = {size.label for size in timed_sizes}
    for number, case in enumerate(cases, 1):
        progress(f"verifying, case {number} of {len(cases)}: {case.size.label} {case.dtype}")
        active = [
            subject
            for subject in subjects
            if not subject.done
            and (
                subject.role in (Role.CANDIDATE, Role.BASELINE) or case.size.label in timed
            )
        ]
        if not any(subject.role is not Role.BASELINE for subject in active):
            return
        _verify_case(operation, case, active, device, timeout_s, first=number == 1)


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


def _verify_case(
    operation: Operation,
    case: Case,
    subjects: list[Subject],
    device: str,
    timeout_s: float,
    *,
    first: bool,
) -> None:
    spec = operation.spec
    layout = lay_out(spec, case.size, case.dtype, 1)
    values = inputs.make_arguments(spec, case, device)
    expected = correctness.reference(operation.function, values)
    answers = _run(subjects, layout, values, timeout_s, watch=first)
    baseline = next((item for item in subjects if item.role is Role.BASELINE), None)
    if baseline is None or baseline.name not in answers:
        failure = baseline.failure if baseline else None
        raise ReferenceFailedError(
            f"the baseline of {operation.name} failed at {case.size.label} {case.dtype}"
            f" ({case.distribution}): {failure.reason if failure else 'it did not run'}."
            " Nothing can be judged without it; see kernels/ and the log above."
        )
    outputs = layout.results(baseline.worker.arena)
    # the baseline is judged by its own error: only the dtype's largest allowance bounds it
    own_error_ulp = correctness.error_of(outputs, expected, case.dtype).error_ulp
    own = correctness.judge(outputs, expected, own_error_ulp, spec, case)
    if own.status is not Status.CORRECT:
        raise ReferenceFailedError(
            f"the baseline of {operation.name} is wrong {_at(case, own.reason)}."
            " A case that the baseline cannot pass judges nobody; correct the operation's spec.py."
        )
    for subject in subjects:
        if subject.name not in answers:
            continue
        if subject is baseline:
            subject.cases.append(own)
            continue
        try:
            found = _judge(
                operation, case, layout, values, expected, own_error_ulp, subject, answers
            )
        except WorkerFailedError as failure:
            subject.fail(failure)
            found = _without_figures(case, failure)
        else:
            if found.status is not Status.CORRECT:
                subject.fail(WorkerFailedError(found.status, _at(case, found.reason)))
        subject.cases.append(found)
    if first and spec.deterministic:
        _repeat(subjects, layout, values, timeout_s)


def _run(
    subjects: list[Subject],
    layout: Layout,
    values: list[Any],
    timeout_s: float,
    *,
    watch: bool,
) -> dict[str, dict[str, Any]]:
    """Run a call in every worker at once; the answers of those that did not fail."""
    for subject in subjects:
        layout.write(subject.worker.arena, 0, values)
        for slot in layout.results(subject.worker.arena):
            slot.view(-1).view(torch.uint8).fill_(secrets.randbelow(256))
    _settle(subjects)
    begin = time.perf_counter()
    for subject in subjects:
        subject.worker.ask(
            "run",
            arguments=layout.sets[0],
            outputs=layout.outputs,
            poison=inputs.poison_byte(secrets.randbits(32)),
            watch=watch,
        )
    answers = {}
    for subject in subjects:
        try:
            answers[subject.name] = subject.worker.answer(timeout_s)
        except WorkerFailedError as failure:
            subject.fail(failure)
            continue
        if subject.first_call_s is None:
            subject.first_call_s = time.perf_counter() - begin
        if watch:
            subject.launched.update(
                {str(name): int(count) for name, count in answers[subject.name]["launched"].items()}
            )
    return answers


def _judge(
    operation: Operation,
    case: Case,
    layout: Layout,
    values: list[Any],
    expected: list[torch.Tensor],
    baseline_error_ulp: float,
    subject: Subject,
    answers: dict[str, dict[str, Any]],
) -> CaseResult:
    """One subject's result of one case; raises WorkerFailedError for what is not about numbers."""
    spec, answer = operation.spec, answers[subject.name]
    device = subject.worker.arena.bytes.device.type
    wrong_form = correctness.check_form(answer, answers["baseline"], layout.outputs, device)
    if wrong_form is None and not answer["copied"]:
        wrong_form = "the result could not be read"
    if wrong_form is not None:
        raise WorkerFailedError(Status.WRONG_FORM, _at(case, wrong_form))
    if not spec.mutates and not layout.unchanged(subject.worker.arena, 0, values):
        raise WorkerFailedError(
            Status.MUTATED_INPUT, _at(case, "the call changed its input, which it must not")
        )
    return correctness.judge(
        layout.results(subject.worker.arena), expected, baseline_error_ulp, spec, case
    )


def _repeat(
    subjects: list[Subject], layout: Layout, values: list[Any], timeout_s: float
) -> None:
    """Run the same input once more: the bits must be the same."""
    running = [subject for subject in subjects if subject.failure is None]
    before = {
        subject.name: [tensor.clone() for tensor in layout.results(subject.worker.arena)]
        for subject in running
    }
    answers = _run(running, layout, values, timeout_s, watch=False)
    for subject in running:
        if subject.name not in answers or subject.role is not Role.CANDIDATE:
            continue
        after = layout.results(subject.worker.arena)
        if not all(
            same_bits(one, other)
            for one, other in zip(before[subject.name], after, strict=True)
        ):
            subject.fail(
                WorkerFailedError(
                    Status.NONDETERMINISTIC,
                    "the same input gave different bits in two calls",
                )
            )


def _settle(subjects: list[Subject]) -> None:
    """Wait until what was written to the arenas is there for other processes."""
    if any(subject.worker.arena.bytes.is_cuda for subject in subjects):
        torch.cuda.synchronize()


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
