import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritonexp.records import (
    SCHEMA,
    Argument,
    Attempt,
    Case,
    CaseResult,
    Ceilings,
    Choices,
    Clock,
    Comparison,
    Completion,
    Environment,
    Evaluation,
    Gpu,
    Implementation,
    Interval,
    MachineFacts,
    Mode,
    OperationBrief,
    Outcome,
    Prompt,
    Provenance,
    Role,
    Size,
    Status,
    StudyRecord,
    Timing,
    TimingProtocol,
    Trial,
    Usage,
    to_json,
)
from tritonexp.tracking import Store

SIZES = tuple(
    Size(axes=("rows", "cols"), extents=extents)
    for extents in ((1024, 1024), (2048, 2048), (4096, 4096), (8192, 1024))
)
BANDWIDTH_GB_S = 4257.0
MEDIANS_US = {
    "candidate": (4.1, 10.5, 35.5, 18.3),
    "baseline": (24.0, 52.5, 189.6, 91.2),
    "liger": (4.5, 11.0, 39.1, 20.1),
    "torch": (6.2, 14.5, 56.4, 21.9),
}
ROLES = {
    "candidate": Role.CANDIDATE,
    "baseline": Role.BASELINE,
    "liger": Role.EXPERT,
    "torch": Role.CONTENDER,
}
SOURCE = "import triton\n\n\ndef softmax(x):\n    return x\n"


def timing(size: Size, median_us: float) -> Timing:
    """Time one size in 20 rounds around a median."""
    rows, cols = size.extents
    floor_us = rows * cols * 8 / BANDWIDTH_GB_S / 1e3
    rounds = tuple(median_us * (1 + 0.001 * ((i * 7) % 5 - 2)) for i in range(20))
    return Timing(
        size=size,
        dtype="float32",
        clock=Clock.GRAPH,
        rounds_us=rounds,
        median_us=statistics.median(rounds),
        interval_us=Interval(low=min(rounds), high=max(rounds)),
        host_us=median_us + 25.0,
        referee_us=median_us,
        floor_us=floor_us,
        floor_kind="memory",
        fraction_of_ceiling=floor_us / statistics.median(rounds),
    )


def trial(name: str, status: Status, source: str, *, timed: bool) -> Trial:
    """Verify, and perhaps time, one implementation."""
    case = Case(size=SIZES[0], dtype="float32", distribution="normal", seed=1)
    medians = zip(SIZES, MEDIANS_US[name], strict=True)
    return Trial(
        implementation=Implementation(
            name=name,
            role=ROLES[name],
            source=source,
            entry_point="softmax",
            provenance=Provenance(
                origin="package", name=name, version="1.0", licence="MIT", location=None
            ),
        ),
        status=status,
        reason="" if status is Status.CORRECT else "row 3 is off by 0.5 | `x` at 3x257",
        log="",
        cases=(
            CaseResult(
                case=case,
                status=status,
                reason="",
                error_ulp=1.25,
                baseline_error_ulp=1.5,
                allowed_error_ulp=8.0,
                max_abs_error=1e-8,
            ),
        ),
        kernels=(),
        compiled=(),
        timings=tuple(timing(size, median) for size, median in medians) if timed else (),
        first_call_s=0.4,
    )


def comparison(subject: Trial, reference: Trial, size: Size | None) -> Comparison:
    """Compare two trials at one size, or over all of them."""
    sizes = SIZES if size is None else (size,)
    ratios = []
    for one in sizes:
        slow, fast = reference.timing_at(one), subject.timing_at(one)
        if slow is not None and fast is not None:
            ratios.append(slow.median_us / fast.median_us)
    measured = len(ratios) == len(sizes)
    speedup = math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) if measured else None
    return Comparison(
        subject="candidate",
        reference=reference.implementation.name,
        clock=Clock.GRAPH,
        size=size,
        speedup=speedup,
        interval=Interval(low=speedup * 0.98, high=speedup * 1.02) if speedup else None,
        outcome=Outcome.FASTER if measured else Outcome.FAILED,
        reason="" if measured else "one side has no time",
    )


def evaluation(status: Status, *, gpu: bool, expert: bool, source: str) -> Evaluation:
    """Judge a candidate on a GPU that exists in these tests alone, or in the interpreter."""
    timed = status in {Status.CORRECT, Status.IMPLAUSIBLE} and gpu
    candidate = trial("candidate", status, source, timed=timed)
    names = ("baseline", "liger", "torch") if expert else ("baseline", "torch")
    references = tuple(trial(name, Status.CORRECT, name, timed=gpu) for name in names)
    device = Gpu(
        name="Example GPU",
        uuid="GPU-0",
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=2**37,
        l2_bytes=50 * 2**20,
        shared_memory_per_block_bytes=232448,
        driver="580.1",
    )
    return Evaluation(
        mode=Mode.GPU if gpu else Mode.INTERPRETER,
        operation="softmax",
        sizes=SIZES,
        dtype="float32",
        protocol=TimingProtocol(
            name="device",
            clock=Clock.GRAPH,
            rounds=20,
            window_us=5000.0,
            host_calls=50,
            cold_factor=4.0,
            margin=0.01,
            max_clock_disagreement=0.05,
            max_fraction_of_ceiling=1.05,
        )
        if gpu
        else None,
        environment=Environment(
            date="2026-11-22T10:00:00+00:00",
            gpu=device if gpu else None,
            cpu="Example CPU",
            platform="Linux",
            python="3.11",
            torch="2.13.0",
            triton="3.7.1",
            tritonexp="0.1.0",
            packages={},
            sandbox="namespaces, landlock",
        ),
        ceilings=Ceilings(
            copy_gb_s=BANDWIDTH_GB_S, matmul_tflop_s={"float16": 700.0}, measured_on="2026-11-22"
        )
        if gpu
        else None,
        candidate=candidate,
        references=references,
        comparisons=tuple(
            comparison(candidate, reference, size)
            for reference in references
            for size in (None, *SIZES)
            if gpu
        ),
        duration_s=5.0,
    )


def record(
    study_id: str = "study-1",
    *,
    sweep: str | None = None,
    status: Status = Status.CORRECT,
    evaluated: bool = True,
    gpu: bool = True,
    expert: bool = True,
    model: str = "sonnet",
    prompt: str = "baseline_only",
    started: str = "2026-11-22T10:00:00+00:00",
    recorded: Evaluation | None = None,
) -> StudyRecord:
    """Make the record of a job with one attempt that cost 0.02 dollars."""
    facts = MachineFacts(
        triton_version="3.7.1",
        gpu_name=None,
        compute_capability=None,
        sm_count=None,
        shared_memory_per_block_bytes=None,
        l2_bytes=None,
        bandwidth_gb_s=None,
    )
    attempt = Attempt(
        number=1,
        prompt=Prompt(name=prompt, components=("baseline",), text="Write a kernel.", facts=facts),
        completion=Completion(
            text=f"```python\n{SOURCE}```",
            model_asked=model,
            model_answered=f"{model}-5-5",
            stop_reason="end_turn",
            usage=Usage(
                input_tokens=900,
                output_tokens=1500,
                cache_read_tokens=None,
                cache_write_tokens=None,
                thinking_tokens=None,
            ),
            cost_usd=0.02,
            latency_s=12.5,
            request_id=None,
            failure=None,
            reason="",
            origin="api",
            sample=None,
            recorded_on=None,
        ),
        source=SOURCE if evaluated else None,
        status=status,
        reason="" if status is Status.CORRECT else "row 3 is off by 0.5 | `x` at 3x257",
        evaluation=evaluation(status, gpu=gpu, expert=expert, source=SOURCE) if evaluated else None,
    )
    return StudyRecord(
        schema=SCHEMA,
        study_id=study_id,
        sweep=sweep,
        started=started,
        choices=Choices(
            operation="softmax",
            model=model,
            prompt=prompt,
            strategy="single_shot",
            sizes="study",
            timing="device",
            expert="auto",
            seed=0,
        ),
        config={"seed": 0},
        brief=OperationBrief(
            name="softmax",
            title="Row-wise softmax",
            pattern="fusion",
            entry_point="softmax",
            signature="softmax(x)",
            baseline_source="def softmax(x): ...",
            arguments=(Argument(name="x", description="tensor [rows, cols]"),),
            result="tensor [rows, cols]",
            dtypes=("float32",),
            shapes="Any.",
            precision="Exact.",
        ),
        attempts=(attempt,),
        chosen=0,
        recorded_evaluation=recorded,
    )


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once, in a folder whose name has a space; its tables take a second."""
    folder: Path = tmp_path_factory.mktemp("tracking") / "ml runs"
    Store.open(folder)
    return folder


@pytest.fixture
def store(shared_store: Path, tmp_path: Path) -> Store:
    """Open an experiment of the test's own."""
    return Store.open(shared_store, experiment=tmp_path.name)


@pytest.fixture
def make_record() -> Callable[..., StudyRecord]:
    """Give the maker of records."""
    return record


@pytest.fixture
def make_evaluation() -> Callable[..., Evaluation]:
    """Give the maker of evaluations."""
    return evaluation


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Path]:
    """Give a maker of job folders: a record.json and the artifacts that go with it."""

    def make(study_id: str = "study-1", **choices: Any) -> Path:
        folder = tmp_path / "jobs" / study_id
        (folder / "plots").mkdir(parents=True)
        (folder / "record.json").write_text(to_json(record(study_id, **choices)))
        for name in ("prompt.md", "response.md", "candidate.py", "config.yaml", "report.md"):
            (folder / name).write_text(f"{name} of {study_id}\n")
        (folder / "environment.json").write_text("{}\n")
        for name in ("comparison.png", "llm_vs_expert.png"):
            (folder / "plots" / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        (folder / "scratch.txt").write_text("not an artifact\n")
        return folder

    return make
