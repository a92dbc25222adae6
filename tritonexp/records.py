"""The nouns of a study as frozen dataclasses, with their JSON round trip.

A measured field has no default: what was not measured is None, and None is shown as "-".
Times are in microseconds (`_us`) or seconds (`_s`), memory in bytes, bandwidth in GB/s (1e9).
A speed-up is always the reference's time over the subject's time, so more than 1 is faster.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

SCHEMA = 1

T = TypeVar("T")


class Role(StrEnum):
    """What an implementation is compared as."""

    CANDIDATE = "candidate"  # written by a model, or the user's file
    BASELINE = "baseline"  # the naive PyTorch that the prompt shows
    EXPERT = "expert"  # written by humans outside this project, called from its own package or file
    CONTENDER = "contender"  # anything else worth a column: torch's library call, our house kernel


class Status(StrEnum):
    """How an attempt, a trial or a case ended."""

    # generation
    REFUSED = "REFUSED"
    TRUNCATED = "TRUNCATED"
    API_ERROR = "API_ERROR"
    NO_CODE = "NO_CODE"
    # code
    SYNTAX_ERROR = "SYNTAX_ERROR"
    MISSING_ENTRY_POINT = "MISSING_ENTRY_POINT"
    IMPORT_ERROR = "IMPORT_ERROR"
    COMPILE_ERROR = "COMPILE_ERROR"
    # running
    RUNTIME_ERROR = "RUNTIME_ERROR"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    CRASHED = "CRASHED"
    # result
    WRONG_FORM = "WRONG_FORM"
    INCORRECT = "INCORRECT"
    MUTATED_INPUT = "MUTATED_INPUT"
    NONDETERMINISTIC = "NONDETERMINISTIC"
    # honesty
    NOT_TRITON = "NOT_TRITON"
    TAMPERING = "TAMPERING"
    STALE_RESULT = "STALE_RESULT"
    CLOCK_MISMATCH = "CLOCK_MISMATCH"
    IMPLAUSIBLE = "IMPLAUSIBLE"
    # and
    CORRECT = "CORRECT"


# the statuses that are found while timing, so that a record of them may hold times
TIMED_STATUSES = frozenset(
    {Status.CORRECT, Status.STALE_RESULT, Status.CLOCK_MISMATCH, Status.IMPLAUSIBLE}
)


class Outcome(StrEnum):
    """The verdict of a comparison; FASTER and SLOWER need the whole interval beyond the margin."""

    FASTER = "faster"
    SLOWER = "slower"
    TIE = "tie"
    FAILED = "failed"  # one side has no time at this size


class Mode(StrEnum):
    """Where a kernel was run."""

    GPU = "gpu"  # verified and timed
    INTERPRETER = "interpreter"  # verified at small sizes on the CPU; nothing is timed


class Clock(StrEnum):
    """What a time was measured with."""

    GRAPH = "graph"  # device time: CUDA graph replay over cold rotating buffers
    EVENTS = "events"  # device time: events around eager calls, cache flushed; where capture fails
    HOST = "host"  # host time: the original study's protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """Named extents of one problem, such as rows=1024 cols=1024."""

    axes: tuple[str, ...]
    extents: tuple[int, ...]

    @property
    def label(self) -> str:
        """The extents joined by x, as in 1024x1024."""
        return "x".join(str(extent) for extent in self.extents)

    def as_dict(self) -> dict[str, int]:
        """Axis name to extent."""
        return dict(zip(self.axes, self.extents, strict=True))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One verification input: a size, a dtype, a distribution and a seed."""

    size: Size
    dtype: str  # torch's name without "torch.", as in float32
    distribution: str
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an implementation comes from."""

    origin: str  # generated, recorded, file, package, tutorial, library, house, baseline
    name: str  # model id, package name or file name
    version: str | None
    licence: str | None
    location: str | None  # module and function, a path, or an address
    sha256: str | None = None  # of the file that it was taken from, where that is not the source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Implementation:
    """A Python file that defines a function with the operation's signature."""

    name: str  # unique within an evaluation: candidate, baseline, liger, torch, house
    role: Role
    source: str
    entry_point: str  # the function to call
    provenance: Provenance

    @property
    def sha256(self) -> str:
        """Hash of the source text."""
        return sha256_of(self.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Argument:
    """How one argument of an operation is told to a model."""

    name: str
    description: str  # as in: tensor [rows, cols], contiguous


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperationBrief:
    """What a prompt may know of an operation."""

    name: str
    title: str
    pattern: str
    entry_point: str
    signature: str  # as in: softmax(x: torch.Tensor) -> torch.Tensor
    baseline_source: str
    arguments: tuple[Argument, ...]
    result: str
    dtypes: tuple[str, ...]
    shapes: str  # one sentence on the shapes that must be served
    precision: str  # one sentence on the precision that is asked for


@dataclasses.dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """What a prompt takes from the machine."""

    triton_version: str
    gpu_name: str | None
    compute_capability: str | None
    sm_count: int | None
    shared_memory_per_block_bytes: int | None
    l2_bytes: int | None
    bandwidth_gb_s: float | None  # measured by copying


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """A rendered prompt, or that none was sent."""

    name: str  # none where none was sent
    components: tuple[str, ...]
    text: str  # "" where none was sent
    facts: MachineFacts

    @property
    def sha256(self) -> str:
        """Hash of the text."""
        return sha256_of(self.text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one completion."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    thinking_tokens: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
    """A provider's answer; `failure` is set where the answer is none that can be used."""

    text: str
    model_asked: str
    model_answered: str | None
    stop_reason: str | None
    usage: Usage | None
    cost_usd: float | None
    latency_s: float | None
    request_id: str | None
    failure: Status | None  # REFUSED, TRUNCATED or API_ERROR
    reason: str  # why it failed, "" otherwise
    origin: str  # api, recorded, file
    sample: int | None  # which recorded sample
    recorded_on: str | None  # ISO date of a recorded response


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseResult:
    """How one implementation did on one case.

    Errors are max |out - float64| per row of the last axis, over the row's largest |float64|,
    in units of the dtype's machine epsilon ("ulp at the row's scale"); the worst row counts.
    """

    case: Case
    status: Status
    reason: str
    error_ulp: float | None
    baseline_error_ulp: float | None
    allowed_error_ulp: float | None
    max_abs_error: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelShare:
    """A GPU kernel that a call was seen to launch, and its part of the call's GPU time."""

    name: str
    launches: int
    share: float | None  # 0 to 1; None where it was not measured, as in the interpreter
    own: bool  # a @triton.jit function of the implementation's file


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledKernel:
    """Static facts of one compiled Triton kernel."""

    name: str
    target: str  # as in sm_90
    dtype: str | None  # of the call that compiled it; None where one serves several
    size: Size | None  # the same
    grid: tuple[int, ...] | None
    launches: int | None  # in one call; None where no call was counted
    num_warps: int
    num_stages: int | None
    registers: int | None  # per thread
    shared_bytes: int | None  # per block
    spill_bytes: int | None  # stack frame and local memory per thread
    blocks_per_sm: int | None  # that a multiprocessor holds at a time
    occupancy: float | None  # their warps over the most that a multiprocessor holds, 0 to 1
    fits: bool | None  # whether a launch would fit the target
    reason: str  # why it does not fit or did not compile, "" otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """One implementation's times at one size."""

    size: Size
    dtype: str
    clock: Clock
    rounds_us: tuple[float, ...]  # per call, one per round, in the order of the rounds
    median_us: float
    interval_us: Interval
    host_us: float | None  # median of eager calls, end to end
    referee_us: float | None  # per call by the referee's own clock
    floor_us: float | None  # the least time that the hardware allows
    floor_kind: str | None  # memory or compute
    fraction_of_ceiling: float | None  # floor over median


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClockSample:
    """What NVML said of the GPU right after a round; None is what it did not say."""

    sm_mhz: int | None
    memory_mhz: int | None
    temperature_c: int | None
    power_w: float | None  # at that moment, not an average
    reasons: tuple[str, ...] | None  # that held the clocks back in the round, as in sw_power_cap


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClockLog:
    """The GPU's clocks in the rounds of one size, and what was done about unsteady ones."""

    size: Size
    samples: tuple[ClockSample | None, ...]  # one for each round that counts; None: NVML is closed
    measured_again: int  # how often a round was replaced by another
    unsteady: tuple[int, ...]  # the rounds, from 0, that count although they are unsteady
    rule: str  # by which rounds were measured again
    reason: str  # why something was not read, "" otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArgumentReads:
    """The bytes that one call's kernels ask for in a tensor argument, each time counted."""

    name: str
    read_bytes: int
    size_bytes: int  # of the whole tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """The bytes that one call asks of memory, counted in Triton's interpreter at a small size.

    What a kernel asks for counts each time, whatever a cache would serve, and what it masks does
    not. torch's operations count apart from the kernels: each is taken to read its arguments and to
    write its results once. The worker's own account; None where it could not be counted.
    """

    size: Size
    dtype: str
    launches: int | None  # of Triton kernels, anybody's
    read_bytes: int | None  # by loads, and by atomics, which read and write
    arguments: tuple[ArgumentReads, ...]  # what of read_bytes lies in which; the rest in none
    written_bytes: int | None
    torch_read_bytes: int | None
    torch_written_bytes: int | None
    least_read_bytes: int  # every argument once
    least_written_bytes: int  # every result once
    flops: float | None  # of the call, where arithmetic rather than memory may bound it
    reason: str  # why it could not be counted, "" otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class DramTraffic:
    """What one call moved between GPU and memory, measured by Nsight Compute at a timed size.

    Each kernel begins with an empty cache, and what it leaves there to be written later does not
    count.
    """

    size: Size
    dtype: str
    kernels: int | None  # that were measured, whoever's they are
    read_bytes: int | None
    written_bytes: int | None
    kernel_us: float | None  # of the kernels together, by the profiler's clock
    reason: str  # why it was not measured, "" otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """The hardware profiler that was asked for, and what came of it."""

    tool: str  # ncu
    reason: str  # why it measured nothing, "" where it did


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One implementation, verified and, where it passed on a GPU, timed."""

    implementation: Implementation
    status: Status
    reason: str  # short, and something a person can act on
    log: str  # longer: traceback, compiler output
    cases: tuple[CaseResult, ...]
    kernels: tuple[KernelShare, ...]
    compiled: tuple[CompiledKernel, ...]
    timings: tuple[Timing, ...]
    first_call_s: float | None  # compilation and autotuning included
    # parts of first_call_s, by the worker's own account: what Triton's compiler took, without what
    # it found in its cache; and what autotuners took beside compiling. None where nobody counted,
    # as in the interpreter, which compiles nothing, and for torch.compile, which has processes of
    # its own for it
    compile_s: float | None
    autotune_s: float | None
    traffic: Traffic | None  # None where nothing was counted, as of what was found to be wrong
    dram: tuple[DramTraffic, ...]  # one for each timed size, where a profiler was asked for

    def __post_init__(self) -> None:
        """Refuse figures that the status does not allow."""
        if self.timings and self.status not in TIMED_STATUSES:
            raise ValueError(f"a trial of status {self.status} may not hold timings")

    @property
    def error_ulp(self) -> float | None:
        """Worst error over the cases that were compared."""
        errors = [case.error_ulp for case in self.cases if case.error_ulp is not None]
        return max(errors) if errors else None

    def timing_at(self, size: Size) -> Timing | None:
        """The timing at one size."""
        return next((timing for timing in self.timings if timing.size == size), None)

    def dram_at(self, size: Size) -> DramTraffic | None:
        """What was measured of memory at one size."""
        return next((item for item in self.dram if item.size == size), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A subject against a reference, at one size or summed up over all sizes (size None)."""

    subject: str
    reference: str
    clock: Clock
    size: Size | None
    speedup: float | None  # median of per-round ratios; geometric mean over sizes
    interval: Interval | None
    outcome: Outcome
    reason: str  # why it failed, "" otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ceilings:
    """What the hardware was measured to reach."""

    copy_gb_s: float  # read + write of a large copy
    matmul_tflop_s: dict[str, float]  # per dtype
    measured_on: str  # ISO date


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as its driver describes it."""

    name: str
    uuid: str
    compute_capability: str
    sm_count: int
    memory_bytes: int
    l2_bytes: int
    shared_memory_per_block_bytes: int
    driver: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment:
    """Where an evaluation ran."""

    date: str  # ISO, UTC
    gpu: Gpu | None
    cpu: str
    platform: str
    python: str
    torch: str
    triton: str
    tritonexp: str
    packages: dict[str, str]
    sandbox: str  # what the workers were confined by


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimingProtocol:
    """How times are taken."""

    name: str  # device or host_clock
    clock: Clock
    rounds: int  # at least
    max_rounds: int  # at most, where a verdict is open
    window_us: float  # how long one implementation runs in one round
    host_calls: int  # eager calls for the host time
    cold_factor: float  # rotating buffers together, in multiples of the L2
    margin: float  # relative: within it a ratio is a tie
    max_clock_disagreement: float  # relative, between the worker's clock and the referee's
    max_fraction_of_ceiling: float  # above it a time is implausible


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfComparison:
    """Copies of one kernel, compared with each other at one size."""

    size: Size
    pairs: int
    false_verdicts: int  # pairs that were not called a tie
    ratios: Interval  # the central 95 % of the pairs' ratios
    usual_reach: float  # how far from 1 the pairs' 95 % intervals reach, in 95 % of the pairs
    largest_reach: float  # the same in all of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How one kernel compared with itself on a machine, by a protocol."""

    date: str  # ISO, UTC
    gpu_name: str
    operation: str
    source_sha256: str  # of the kernel
    dtype: str
    protocol: TimingProtocol
    sizes: tuple[SelfComparison, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A candidate judged beside its references."""

    mode: Mode
    operation: str
    sizes: tuple[Size, ...]  # the timed sizes that were asked for
    dtype: str  # the dtype that is timed
    protocol: TimingProtocol | None  # None where nothing was timed
    environment: Environment
    ceilings: Ceilings | None
    candidate: Trial
    references: tuple[Trial, ...]  # baseline first, then experts, then contenders
    comparisons: tuple[Comparison, ...]
    clock_logs: tuple[ClockLog, ...]  # one for each timed size
    calibration: Calibration | None  # the machine's, by the same protocol; None where there is none
    profile: Profile | None  # None where none was asked for
    duration_s: float

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The candidate and its references."""
        return (self.candidate, *self.references)

    @property
    def status(self) -> Status:
        """The candidate's status."""
        return self.candidate.status

    @property
    def expert(self) -> Trial | None:
        """The human expert's trial; None where there is no expert."""
        return next(
            (trial for trial in self.references if trial.implementation.role is Role.EXPERT), None
        )

    def comparison(
        self, reference: str, size: Size | None = None, subject: str = "candidate"
    ) -> Comparison | None:
        """The comparison of subject with reference at one size, or over all (None)."""
        return next(
            (
                item
                for item in self.comparisons
                if (item.subject, item.reference, item.size) == (subject, reference, size)
            ),
            None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attempt:
    """One prompt, its answer and what became of it."""

    number: int  # from 1
    prompt: Prompt
    completion: Completion
    source: str | None  # None where no code was found
    status: Status
    reason: str
    evaluation: Evaluation | None  # None where there was nothing to evaluate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What a job was asked to do."""

    operation: str
    model: str
    prompt: str
    strategy: str
    sizes: str
    timing: str
    expert: str
    seed: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One job from prompt to verdict: the only thing that tracking and reports read."""

    schema: int
    study_id: str
    sweep: str | None
    started: str  # ISO, UTC
    choices: Choices
    config: dict[str, Any]
    brief: OperationBrief
    attempts: tuple[Attempt, ...]
    chosen: int  # index into attempts of the one that stands for the study
    # made of the same source on a named GPU, and shown beside: what of it was asked for
    recorded_evaluation: Evaluation | None

    @property
    def name(self) -> str:
        """operation/model/prompt."""
        return f"{self.choices.operation}/{self.choices.model}/{self.choices.prompt}"

    @property
    def attempt(self) -> Attempt:
        """The attempt that stands for the study."""
        return self.attempts[self.chosen]

    @property
    def status(self) -> Status:
        """The chosen attempt's status."""
        return self.attempt.status

    @property
    def evaluation(self) -> Evaluation | None:
        """The chosen attempt's evaluation."""
        return self.attempt.evaluation

    @property
    def cost_usd(self) -> float | None:
        """Dollars over all attempts; None where any is unknown."""
        costs = [attempt.completion.cost_usd for attempt in self.attempts]
        return None if None in costs else math.fsum(cost for cost in costs if cost is not None)


def sha256_of(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _adapter(kind: Any) -> Any:
    # pydantic reads and checks plain dataclasses; imported late because it takes 0.1 s
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def to_json(record: Any) -> str:
    """Dump a record as indented JSON; raises ValueError on a NaN or infinite figure."""
    kind: Any = type(record)
    data = _adapter(kind).dump_python(record, mode="json")
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def from_json(kind: type[T], text: str | bytes) -> T:
    """Read a record of a kind back; raises ValueError (pydantic's) on anything else."""
    # classes are hashable, whatever the type checker makes of a TypeVar
    record: T = _adapter(kind).validate_json(text)  # type: ignore[arg-type]
    return record


def fault_of(error: ValueError) -> str:
    """What from_json found wrong first, in words for people; any other error as it is."""
    listed = getattr(error, "errors", None)
    if listed is None:
        return " ".join(str(error).split())
    first = listed(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = str(first["msg"])
    # JSON keeps its capitals
    return f"{where}: {text[0].lower()}{text[1:]}" if where else text
