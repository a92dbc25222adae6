"""Finds out whether implementations are right: every case, against float64.

The referee makes a case's arguments, computes what is expected, and gives each worker its own copy.
The candidate and the baseline take every case; experts and contenders take ordinary ones of the
timed sizes, since it is there that they are compared.

What takes long is compiling, which others do ahead of the workers (see ahead.py). The candidate's
scouts share most of its cases, each as soon as it is compiled, and the worker that will be timed
takes the rest after them, when the GPU is quiet.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tritonexp.errors import ReferenceFailedError
from tritonexp.evaluation import answers, correctness, inputs, process
from tritonexp.evaluation.ahead import CompileAhead
from tritonexp.evaluation.channel import Channel
from tritonexp.evaluation.layout import Layout, lay_out
from tritonexp.evaluation.memory import same_bits
from tritonexp.evaluation.process import Crew, WorkerFailedError, WorkerProcess
from tritonexp.evaluation.roster import Roster, grouped
from tritonexp.operations import Operation
from tritonexp.records import Case, CaseResult, Role, Size, Status

# enough to see what a wrong kernel has in common
MAX_FAILED_CASES = 3
# of cases that several workers take, until they are made anew
KEPT_BYTES = 1 << 30
# how many calls are made with kernels that do nothing, at as many sizes as there are
MUTED_CALLS = 12
# a plain value in every dtype
MUTED_POISON = 0x3C
# fewer numbers may be right by chance
LEAST_MUTED = 64
# of a call whose kernels do nothing, and who waits for them may wait for ever
MUTED_TIMEOUT_S = 5.0


@dataclass
class Subject:
    """One implementation under verification, and what was found so far."""

    crew: Crew
    cases: list[CaseResult] = field(default_factory=list)
    failure: WorkerFailedError | None = None
    failed_cases: int = 0
    lost: bool = False
    launched: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The implementation's name."""
        return self.worker.implementation.name

    @property
    def role(self) -> Role:
        """The implementation's role."""
        return self.worker.implementation.role

    @property
    def tunes(self) -> bool:
        """Whether it may try variants in its first call, as far as its text tells."""
        implementation = self.crew.implementation
        return implementation.name == "compile" or "autotune" in implementation.source

    @property
    def worker(self) -> WorkerProcess:
        """The one that is timed."""
        return self.crew.workers[0]

    @property
    def scouts(self) -> list[WorkerProcess]:
        """Those that only take cases: a candidate's are compiled and run side by side."""
        return self.crew.workers[1:]

    @property
    def done(self) -> bool:
        """Whether nothing more is to be learned from it: often wrong, or a worker was lost."""
        return self.failed_cases >= MAX_FAILED_CASES or self.lost

    def note_first_call(
        self, seconds: float, answer: dict[str, Any], ahead: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """Keep how long a call took, and what of it was compiling, unless there was one before.

        By the worker's account, and at most the `seconds` that went by: the referee may have looked
        late, while it did something for others. `ahead` are seconds that were spent on it before,
        and what of them was compiling.
        """
        crew = self.crew
        if crew.first_call_s is None:
            crew.first_call_s = ahead[0] + min(seconds, answers.time_of(answer, "call_s"))
            compile_s, crew.autotune_s = answers.compiling_of(answer)
            crew.compile_s = None if compile_s is None else ahead[1] + compile_s

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
    baseline_answer: dict[str, Any]
    baseline_error_ulp: float


@dataclass
class Stint:
    """A worker's way through cases, which it may share with other workers."""

    subject: Subject
    worker: WorkerProcess
    # in groups: those of one size and dtype are one worker's, who compiles once for all of them
    # and would be found out if it returned the result of one for another
    groups: deque[list[Case]]
    cases: list[Case] = field(default_factory=list)
    passed: list[Case] = field(default_factory=list)
    # what it is running, and since when: nothing before its start is over
    item: Prepared | None = None
    begin_s: float = 0.0
    repeats: bool = True

    def next_case(self) -> Case | None:
        """Take the next case; None where all are taken."""
        if not self.cases and self.groups:
            self.cases = self.groups.popleft()
        return self.cases.pop(0) if self.cases else None

    @property
    def busy(self) -> bool:
        """Whether it owes an answer."""
        return not self.worker.started or self.item is not None


class Verifier:
    """Runs implementations through cases; what is found is kept in the subjects.

    Raises ReferenceFailedError where the baseline, one of the subjects, does not pass a case.
    """

    def __init__(
        self,
        operation: Operation,
        subjects: Sequence[Subject],
        ahead: CompileAhead,
        device: str,
        timeout_s: float,
        progress: Callable[[str], None],
    ) -> None:
        self.operation = operation
        self.subjects = subjects
        # makes the groups ready that the candidate's scouts share
        self._ahead = ahead
        self.device = device
        self.timeout_s = timeout_s
        self._progress = progress
        self._candidate = next(item for item in subjects if item.role is Role.CANDIDATE)
        self._baseline = next(item for item in subjects if item.role is Role.BASELINE)
        self._kept: dict[Case, Prepared] = {}
        self._of_baseline: dict[Case, tuple[dict[str, Any], float]] = {}

    def run(self, roster: Roster, start: Callable[[], None] = lambda: None) -> None:
        """Verify all; what is found is in the subjects, in the order of the cases.

        `start` has the candidate's workers import it. Where sizes are timed, the candidate's scouts
        are killed on the way, and left to be reaped.
        """
        candidate = self._candidate
        # where nothing is timed, the first worker is a scout too
        scouts = candidate.scouts if roster.is_timed else candidate.crew.workers
        exploring = [Stint(candidate, scout, self._ahead.ready) for scout in scouts]
        others = [
            Stint(subject, subject.worker, deque([list(roster.compared)]))
            for subject in self.subjects
            if subject is not candidate and subject is not self._baseline
        ]
        # who tunes keeps its choice for as long as it serves, and makes it alone with the GPU
        tuning = [
            stint
            for stint in others
            if roster.is_timed and stint.subject.tunes and stint.subject.crew.first_call_s is None
        ]
        if not tuning:
            start()
        self._start_baseline()
        for stint in tuning:
            self._work([stint], roster.count)
        if tuning:
            start()
        self._work([*exploring, *others], roster.count)
        self._work_without_kernels(exploring)
        if roster.is_timed:
            self._ahead.close()
            for scout in scouts:
                scout.kill()
            if candidate.tunes:
                # what is left of them would disturb it
                process.end_all(scouts)
            alone = Stint(candidate, candidate.worker, deque([list(roster.left)]))
            self._work([alone], roster.count)
        order = {(case.size, case.dtype): number for number, case in enumerate(roster.cases)}
        for subject in self.subjects:
            subject.cases.sort(key=lambda found: order[found.case.size, found.case.dtype])

    def _start_baseline(self) -> None:
        try:
            self._baseline.worker.finish_start(process.START_TIMEOUT_S)
        except WorkerFailedError as failure:
            raise ReferenceFailedError(
                f"the baseline of {self.operation.name} cannot be imported: {failure.reason}."
                " Correct the operation's baseline.py."
            ) from failure

    def _work(self, stints: Sequence[Stint], total: int) -> None:
        """Keep every worker busy until no case is left; end early with the candidate."""
        ahead = self._ahead
        shares_ready = any(stint.groups is ahead.ready for stint in stints)
        while not self._candidate.done:
            ahead.step()
            for stint in stints:
                if not stint.busy and not stint.subject.done:
                    case = stint.next_case()
                    if case is not None:
                        self._begin(stint, case, total)
            busy = [stint for stint in stints if stint.busy and stint.worker.alive]
            compiling = ahead.busy
            if not busy and not (ahead.is_awaited and shares_ready):
                return
            limits = [self._limit_s(stint) for stint in busy]
            next_s = min([*limits, *(desk.limit_s for desk in compiling)])
            channels = [stint.worker.channel for stint in busy]
            channels += [desk.compiler.channel for desk in compiling]
            ready = Channel.wait(channels, next_s - time.perf_counter())
            for stint, limit_s, is_ready in zip(busy, limits, ready, strict=False):
                left_s = limit_s - time.perf_counter()
                if is_ready or left_s <= 0:
                    self._conclude(stint, max(left_s, 0.0))
            for desk, is_ready in zip(compiling, ready[len(busy) :], strict=True):
                if is_ready or desk.limit_s <= time.perf_counter():
                    ahead.conclude(desk, is_ready=is_ready)

    def _limit_s(self, stint: Stint) -> float:
        if stint.worker.started:
            return stint.begin_s + self.timeout_s
        if not stint.begin_s:
            stint.begin_s = time.perf_counter()
        return stint.begin_s + process.START_TIMEOUT_S

    def _begin(self, stint: Stint, case: Case, total: int) -> None:
        if stint.subject is self._candidate:
            self._progress(
                f"verifying, case {len(self._candidate.cases) + 1} of {total}:"
                f" {case.size.label} {case.dtype}"
            )
        stint.item = self._prepare(case)
        self._call(stint.item, stint.worker)
        stint.begin_s = time.perf_counter()

    def _conclude(self, stint: Stint, timeout_s: float) -> None:
        """Take a worker's answer, and judge it."""
        subject, worker, item = stint.subject, stint.worker, stint.item
        stint.item = None
        if item is None:
            try:
                worker.step_start(timeout_s)
            except WorkerFailedError as failure:
                subject.fail(failure)
                subject.lost = True
            return
        case, log = item.case, ""
        try:
            answer = worker.answer(timeout_s, self.timeout_s)
            seconds = time.perf_counter() - stint.begin_s
            is_ahead = subject is self._candidate
            spent = self._ahead.spent_on(case) if is_ahead else (0.0, 0.0)
            subject.note_first_call(seconds, answer, spent)
            self._check(item, subject, worker, answer)
            found = self._judged(item, worker)
            if found.status is Status.CORRECT and stint.repeats:
                stint.repeats = False
                self._repeat(item, worker)
        except WorkerFailedError as failure:
            found = _without_figures(case, failure)
            log = failure.log
        if found.status is Status.CORRECT:
            stint.passed.append(case)
        else:
            subject.fail(WorkerFailedError(found.status, _at(case, found.reason), log))
        subject.lost = subject.lost or not worker.alive
        subject.cases.append(found)

    def _prepare(self, case: Case) -> Prepared:
        """Make a case's arguments and what is expected, and have the baseline run it."""
        if case in self._kept:
            return self._kept[case]
        spec = self.operation.spec
        values = inputs.make_arguments(spec, case, self.device)
        item = Prepared(
            case=case,
            layout=lay_out(spec, case.size, case.dtype, 1),
            values=values,
            expected=[],
            baseline_answer={},
            baseline_error_ulp=0.0,
        )
        begin = time.perf_counter()
        if case not in self._of_baseline:
            # it runs while what is expected is computed
            self._call(item, self._baseline.worker)
        item.expected = correctness.reference(self.operation.function, values)
        if case not in self._of_baseline:
            self._of_baseline[case] = self._conclude_baseline(item, begin)
        item.baseline_answer, item.baseline_error_ulp = self._of_baseline[case]
        self._kept[case] = item
        # the oldest go first; those under way are held by whoever runs them
        while len(self._kept) > 1 and sum(map(_bytes_of, self._kept.values())) > KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        return item

    def _write(self, item: Prepared, worker: WorkerProcess) -> None:
        """Give a worker its own copy of the arguments, and nothing where its results will be."""
        item.layout.write(worker.arena, 0, item.values)
        for slot in item.layout.results(worker.arena):
            slot.view(-1).view(torch.uint8).fill_(secrets.randbelow(256))

    def _settle(self) -> None:
        """Wait until what was written to the arenas is there for other processes."""
        if self.device != "cpu":
            torch.cuda.synchronize()

    def _ask(self, item: Prepared, worker: WorkerProcess, *, muted: bool = False) -> None:
        worker.ask(
            "run",
            arguments=item.layout.sets[0],
            outputs=item.layout.outputs,
            # no NaN where nothing is to be computed: it may be what is expected
            poison=MUTED_POISON if muted else inputs.poison_byte(secrets.randbits(32)),
            muted=muted,
        )

    def _call(self, item: Prepared, worker: WorkerProcess, *, muted: bool = False) -> None:
        self._write(item, worker)
        self._settle()
        self._ask(item, worker, muted=muted)

    def _conclude_baseline(self, item: Prepared, begin: float) -> tuple[dict[str, Any], float]:
        """The baseline's answer and its error on a case that it was asked for."""
        subject, worker, case = self._baseline, self._baseline.worker, item.case
        try:
            answer = worker.answer(self.timeout_s)
            subject.note_first_call(time.perf_counter() - begin, answer)
        except WorkerFailedError as failure:
            raise ReferenceFailedError(
                f"the baseline of {self.operation.name} failed {_at(case, failure.reason)}."
                " Nothing can be judged without it; correct the operation's baseline.py or spec.py."
            ) from failure
        outputs = item.layout.results(worker.arena)
        # the baseline is judged by its own error: only the dtype's largest allowance bounds it
        figures = correctness.error_of(outputs, item.expected, case.dtype)
        found = correctness.judge(
            outputs, item.expected, figures.error_ulp, self.operation.spec, case, figures
        )
        if found.status is not Status.CORRECT:
            raise ReferenceFailedError(
                f"the baseline of {self.operation.name} is wrong {_at(case, found.reason)}."
                " A case that it cannot pass judges nobody; correct the operation's spec.py."
            )
        subject.cases.append(found)
        return answer, figures.error_ulp

    def _check(
        self, item: Prepared, subject: Subject, worker: WorkerProcess, answer: dict[str, Any]
    ) -> None:
        """Raise WorkerFailedError for what is wrong with a result apart from its numbers."""
        if subject is self._candidate:
            answers.check_untouched(answer)
            launched = answers.launched_of(answer)
            subject.launched.update(launched)
            if not launched:
                raise WorkerFailedError(
                    Status.NOT_TRITON, "the call launched no Triton kernel of the file"
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

    def _work_without_kernels(self, stints: Sequence[Stint]) -> None:
        """Fail a candidate whose result is right though its own kernels do nothing.

        The last thing that is asked of a worker: it is left in a state that no honest call leaves.
        """
        ordinary = inputs.ordinary(self.operation.spec)
        for case, worker in self._muted_calls(stints):
            # other values than it has seen, of which it may honestly keep the results
            seed = secrets.choice(inputs.SEEDS)
            fresh = dataclasses.replace(case, seed=seed, distribution=ordinary)
            is_asked = self._candidate.failure is None and worker.idle
            if is_asked and not self._run_muted(fresh, worker):
                return

    def _muted_calls(self, stints: Sequence[Stint]) -> list[tuple[Case, WorkerProcess]]:
        """Cases that workers passed, of different sizes: not at all are a kernel's results needed.

        In turns: a worker may be of no use any more after its first.
        """
        kinds = [
            [
                (group[0], stint.worker)
                for group in grouped(stint.passed)
                if math.prod(group[0].size.extents) >= LEAST_MUTED
            ]
            for stint in stints
        ]
        for group in kinds:
            # which ones nobody can foresee
            secrets.SystemRandom().shuffle(group)
        turns = itertools.zip_longest(*kinds)
        return [call for turn in turns for call in turn if call is not None][:MUTED_CALLS]

    def _run_muted(self, case: Case, worker: WorkerProcess) -> bool:
        """Whether more such runs are worth their time: one that hangs is enough."""
        known = len(self._baseline.cases)
        item = self._prepare(case)
        # it is none of the cases: only the allowance is taken from what the baseline did
        del self._baseline.cases[known:]
        if not self._depends_on_values(item):
            return True
        self._call(item, worker, muted=True)
        try:
            answer = worker.answer(min(self.timeout_s, MUTED_TIMEOUT_S))
            is_right = (
                answers.flag_of(answer, "copied")
                and self._judged(item, worker).status is Status.CORRECT
            )
        except WorkerFailedError as failure:
            # without its kernels it may raise what it likes, and end as it likes
            if failure.status is Status.TAMPERING:
                self._candidate.fail(failure)
            return failure.status is not Status.TIMEOUT
        if is_right:
            reason = "the result is right though its own Triton kernels did nothing"
            self._candidate.fail(WorkerFailedError(Status.NOT_TRITON, _at(item.case, reason)))
        return True

    def _depends_on_values(self, item: Prepared) -> bool:
        """Whether other values make another result: the softmax of one column is always 1.

        Memory that an earlier result lay in is then right without any kernel.
        """
        twin = dataclasses.replace(item.case, seed=secrets.choice(inputs.SEEDS))
        values = inputs.make_arguments(self.operation.spec, twin, self.device)
        expected = correctness.reference(self.operation.function, values)
        return not all(map(torch.equal, item.expected, expected))

    def _repeat(self, item: Prepared, worker: WorkerProcess) -> None:
        """Run the same input once more: raises WorkerFailedError where the bits differ."""
        if not self.operation.spec.deterministic:
            return
        before = [tensor.clone() for tensor in item.layout.results(worker.arena)]
        self._call(item, worker)
        worker.answer(self.timeout_s)
        if not all(map(same_bits, before, item.layout.results(worker.arena))):
            raise WorkerFailedError(
                Status.NONDETERMINISTIC, "the same input gave different bits in two calls"
            )


def results_judge(
    operation: Operation, dtype: str, size: Size
) -> Callable[[list[Any], dict[str, list[torch.Tensor]]], dict[str, str]]:
    """A judge of the results of timed calls: why those of which implementation are wrong."""

    def judge(arguments: list[Any], results: dict[str, list[torch.Tensor]]) -> dict[str, str]:
        expected = correctness.reference(operation.function, arguments)
        case = Case(size=size, dtype=dtype, distribution="normal", seed=0)
        figures = {
            name: correctness.error_of(outputs, expected, dtype)
            for name, outputs in results.items()
        }
        own = figures["baseline"].error_ulp if "baseline" in figures else None
        found = {
            name: correctness.judge(outputs, expected, own, operation.spec, case, figures[name])
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


def _bytes_of(item: Prepared) -> int:
    tensors = [*item.expected, *(value for value in item.values if isinstance(value, torch.Tensor))]
    return sum(tensor.nbytes for tensor in tensors)
