"""Records as a study on one H200 would make them, for the tests of reports.

The medians are those of softmax measured on an H200; the rounds around them are drawn with 0.5 %
of noise, and the comparisons come from the project's own statistics.
"""

import dataclasses
import random

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
    CompiledKernel,
    Completion,
    Environment,
    Evaluation,
    Gpu,
    Implementation,
    KernelShare,
    MachineFacts,
    Mode,
    OperationBrief,
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
)
from tritonexp.statistics import compare, median_interval

SIZES = tuple(
    Size(axes=("rows", "cols"), extents=extents)
    for extents in ((1024, 1024), (2048, 2048), (4096, 4096), (8192, 1024))
)

MEDIANS_US = {
    "candidate": (4.1, 10.5, 35.5, 18.3),
    "baseline": (24.0, 52.5, 189.6, 91.2),
    "liger": (4.5, 11.0, 39.1, 20.1),
    "torch": (6.2, 14.5, 56.4, 21.9),
    "house": (4.1, 10.5, 35.5, 18.3),
}

COPY_GB_S = 4257.0

CANDIDATE_SOURCE = '''"""Row-wise softmax, one program per row."""

import torch
import triton
import triton.language as tl


@triton.jit
def softmax_kernel(out_ptr, x_ptr, x_row_stride, n_cols, BLOCK_SIZE: tl.constexpr):
    """One row: load, subtract the maximum, exponentiate, normalise, store."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK_SIZE)
    mask = columns < n_cols
    values = tl.load(x_ptr + row * x_row_stride + columns, mask=mask, other=-float("inf"))
    values = values.to(tl.float32)
    numerator = tl.exp(values - tl.max(values, axis=0))
    denominator = tl.sum(numerator, axis=0)
    tl.store(out_ptr + row * x_row_stride + columns, numerator / denominator, mask=mask)


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over the rows of x."""
    rows, n_cols = x.shape
    out = torch.empty_like(x)
    BLOCK_SIZE = triton.next_power_of_2(n_cols)
    num_warps = 8 if n_cols > 2048 else 4
    softmax_kernel[(rows,)](out, x, x.stride(0), n_cols, BLOCK_SIZE=BLOCK_SIZE, num_warps=8)
    return out
'''

BASELINE_SOURCE = "import torch\n\n\ndef softmax(x):\n    return torch.softmax(x, dim=1)\n"

PROTOCOL = TimingProtocol(
    name="device",
    clock=Clock.GRAPH,
    rounds=20,
    window_us=2000.0,
    host_calls=50,
    cold_factor=3.0,
    margin=0.01,
    max_clock_disagreement=0.05,
    max_fraction_of_ceiling=1.05,
)

H200 = Gpu(
    name="NVIDIA H200",
    uuid="GPU-0f6a",
    compute_capability="9.0",
    sm_count=132,
    memory_bytes=150_754_820_096,
    l2_bytes=62_914_560,
    shared_memory_per_block_bytes=232_448,
    driver="580.65",
)


def implementation(name: str, source: str = CANDIDATE_SOURCE) -> Implementation:
    """An implementation under one of the usual names."""
    role, origin, package, location = {
        "candidate": (Role.CANDIDATE, "recorded", "Claude", None),
        "baseline": (Role.BASELINE, "baseline", "naive PyTorch", "kernels/softmax/baseline.py"),
        "liger": (Role.EXPERT, "package", "liger-kernel", "liger_kernel.ops.softmax:LigerSoftmax"),
        "torch": (Role.CONTENDER, "package", "torch", "torch:softmax"),
        "house": (Role.CONTENDER, "house", "tritonexp", "kernels/softmax/house.py"),
    }[name]
    return Implementation(
        name=name,
        role=role,
        source=source if name == "candidate" else BASELINE_SOURCE,
        entry_point="softmax",
        provenance=Provenance(
            origin=origin,
            name=package,
            version="0.8.5" if name == "liger" else None,
            licence="BSD-2-Clause" if name == "liger" else None,
            location=location,
        ),
    )


def rounds_us(name: str, place: int, medians=MEDIANS_US) -> tuple[float, ...]:
    """Twenty rounds around a median; the rounds' own drift is common to all sides."""
    drift, own = random.Random(place), random.Random(f"{name}{place}")
    median = medians[name][place]
    return tuple(
        median * (1 + drift.gauss(0, 0.004)) * (1 + own.gauss(0, 0.002)) for _ in range(20)
    )


def timing(name: str, place: int, medians=MEDIANS_US, clock: Clock = Clock.GRAPH) -> Timing:
    """One side's times at one size of SIZES."""
    size, rounds = SIZES[place], rounds_us(name, place, medians)
    median = sorted(rounds)[len(rounds) // 2]
    floor = 2 * 4 * size.extents[0] * size.extents[1] / COPY_GB_S / 1e3
    return Timing(
        size=size,
        dtype="float32",
        clock=clock,
        rounds_us=rounds,
        median_us=median,
        interval_us=median_interval(rounds, seed=0),
        host_us=median + 29.0,
        referee_us=median * 1.012,
        floor_us=floor,
        floor_kind="memory",
        fraction_of_ceiling=floor / median,
    )


def case_results(
    sizes: int = 4, *, failing: int = 0, reason: str = "error above the allowance"
) -> tuple[CaseResult, ...]:
    """Cases over three dtypes and some distributions; the first so many fail."""
    results = []
    draw = random.Random(7)
    for dtype in ("float32", "float16", "bfloat16"):
        for distribution in ("normal", "large", "constant", "minus_inf"):
            for extents in ((1, 1), (3, 257), (1823, 781), (4096, 4096))[:sizes]:
                bad = len(results) < failing
                error = draw.uniform(0.3, 1.6)
                results.append(
                    CaseResult(
                        case=Case(
                            size=Size(axes=("rows", "cols"), extents=extents),
                            dtype=dtype,
                            distribution=distribution,
                            seed=1000 + len(results),
                        ),
                        status=Status.INCORRECT if bad else Status.CORRECT,
                        reason=reason if bad else "",
                        error_ulp=73251.5 if bad else error,
                        baseline_error_ulp=draw.uniform(0.5, 1.9),
                        allowed_error_ulp=8.0,
                        max_abs_error=error * 1e-7,
                    )
                )
    return tuple(results)


def trial(
    name: str,
    *,
    status: Status = Status.CORRECT,
    reason: str = "",
    log: str = "",
    timed: bool = True,
    missing: tuple[int, ...] = (),
    medians=MEDIANS_US,
    cases: tuple[CaseResult, ...] | None = None,
    compiled: tuple[CompiledKernel, ...] = (),
) -> Trial:
    """One side as verified, and timed at all sizes but the missing ones."""
    return Trial(
        implementation=implementation(name),
        status=status,
        reason=reason,
        log=log,
        cases=case_results() if cases is None else cases,
        kernels=(
            KernelShare(
                name="softmax_kernel" if name == "candidate" else f"{name}_kernel",
                launches=1,
                share=1.0,
                own=name != "torch",
            ),
        )
        if timed
        else (),
        compiled=compiled,
        timings=tuple(
            timing(name, place, medians) for place in range(len(SIZES)) if place not in missing
        )
        if timed
        else (),
        first_call_s=0.45 if timed else None,
    )


def comparisons(trials: list[Trial]) -> tuple[Comparison, ...]:
    """Every side against the baseline, and the candidate against every side."""
    by_name = {item.implementation.name: item for item in trials}
    pairs = [(name, "baseline") for name in by_name if name != "baseline"]
    pairs += [("candidate", name) for name in by_name if name not in {"candidate", "baseline"}]
    found = []
    for subject, reference in pairs:
        found += compare(
            subject,
            reference,
            by_name[subject].timings,
            by_name[reference].timings,
            SIZES,
            Clock.GRAPH,
            0.01,
            0,
        )
    return tuple(found)


def environment(*, gpu: bool = True, date: str = "2026-11-22T10:15:00+00:00") -> Environment:
    """The H200 machine, or one without a GPU."""
    return Environment(
        date=date,
        gpu=H200 if gpu else None,
        cpu="AMD EPYC 9555",
        platform="Linux",
        python="3.12.4",
        torch="2.11.0+cu130" if gpu else "2.13.0+cpu",
        triton="3.6.0" if gpu else "3.7.1",
        tritonexp="0.1.0",
        packages={"liger-kernel": "0.8.5"},
        sandbox="user and network namespaces, Landlock",
    )


def gpu_evaluation(
    *,
    names: tuple[str, ...] = ("baseline", "liger", "torch", "house"),
    candidate: Trial | None = None,
    references: tuple[Trial, ...] | None = None,
) -> Evaluation:
    """An evaluation on the H200, timed unless the candidate given is not."""
    subject = candidate or trial("candidate")
    others = references or tuple(trial(name) for name in names)
    return Evaluation(
        mode=Mode.GPU,
        operation="softmax",
        sizes=SIZES,
        dtype="float32",
        protocol=PROTOCOL,
        environment=environment(),
        ceilings=Ceilings(
            copy_gb_s=COPY_GB_S,
            matmul_tflop_s={"float16": 705.0, "float32": 51.0},
            measured_on="2026-11-22",
        ),
        candidate=subject,
        references=others,
        comparisons=comparisons([subject, *others]) if subject.timings else (),
        duration_s=5.4,
    )


def interpreter_evaluation(
    *, status: Status = Status.CORRECT, failing: int = 0, reason: str = "", log: str = ""
) -> Evaluation:
    """An evaluation without a GPU: cases and an offline compilation, no time."""
    compiled = (
        CompiledKernel(
            name="softmax_kernel",
            target="sm_90",
            dtype="float32",
            size=SIZES[2],
            grid=(4096, 1, 1),
            num_warps=8,
            num_stages=3,
            registers=40,
            shared_bytes=128,
            spill_bytes=0,
            fits=True,
            reason="",
        ),
    )
    return Evaluation(
        mode=Mode.INTERPRETER,
        operation="softmax",
        sizes=SIZES,
        dtype="float32",
        protocol=None,
        environment=environment(gpu=False, date="2026-11-25T08:00:00+00:00"),
        ceilings=None,
        candidate=trial(
            "candidate",
            status=status,
            reason=reason,
            log=log,
            timed=False,
            cases=case_results(3, failing=failing),
            compiled=compiled,
        ),
        references=tuple(
            trial(name, timed=False, cases=case_results(3)) for name in ("baseline", "liger")
        ),
        comparisons=(),
        duration_s=4.0,
    )


def record(
    evaluation: Evaluation | None = None,
    *,
    operation: str = "softmax",
    model: str = "recorded",
    prompt: str = "baseline_only",
    sizes: str = "study",
    seed: int = 0,
    study_id: str = "20261122-101500-softmax",
    status: Status | None = None,
    reason: str = "",
    source: str | None = CANDIDATE_SOURCE,
    recorded_evaluation: Evaluation | None = None,
    config: dict | None = None,
    **completion,
) -> StudyRecord:
    """One job; the status is the evaluation's unless it is given."""
    answer = Completion(
        **{
            "text": f"```python\n{source}\n```",
            "model_asked": model,
            "model_answered": "Claude",
            "stop_reason": "end_turn",
            "usage": Usage(
                input_tokens=1234,
                output_tokens=2345,
                cache_read_tokens=None,
                cache_write_tokens=None,
                thinking_tokens=None,
            ),
            "cost_usd": 0.0259,
            "latency_s": 21.4,
            "request_id": None,
            "failure": None,
            "reason": "",
            "origin": "recorded",
            "sample": 1,
            "recorded_on": "2026-11-20",
            **completion,
        }
    )
    found = status or (evaluation.status if evaluation else Status.NO_CODE)
    return StudyRecord(
        schema=SCHEMA,
        study_id=study_id,
        sweep="20261122-101400-ab12",
        started="2026-11-22T10:14:30+00:00",
        choices=Choices(
            operation=operation,
            model=model,
            prompt=prompt,
            strategy="single_shot",
            sizes=sizes,
            timing="device",
            expert="auto",
            seed=seed,
        ),
        config=config or {"model": {"name": model, "sample": 1}, "sizes": {"custom": None}},
        brief=OperationBrief(
            name=operation,
            title="Row-wise softmax" if operation == "softmax" else operation,
            pattern="fusion",
            entry_point="softmax",
            signature="softmax(x: torch.Tensor) -> torch.Tensor",
            baseline_source=BASELINE_SOURCE,
            arguments=(Argument(name="x", description="tensor [rows, cols], contiguous"),),
            result="tensor [rows, cols]",
            dtypes=("float32", "float16", "bfloat16"),
            shapes="Any number of rows.",
            precision="As exact as the baseline.",
        ),
        attempts=(
            Attempt(
                number=1,
                prompt=Prompt(
                    name=prompt,
                    components=("task", "baseline", "contract", "versions", "answer"),
                    text="Write a kernel.",
                    facts=MachineFacts(
                        triton_version="3.6.0",
                        gpu_name=None,
                        compute_capability=None,
                        sm_count=None,
                        shared_memory_per_block_bytes=None,
                        l2_bytes=None,
                        bandwidth_gb_s=None,
                    ),
                ),
                completion=answer,
                source=source,
                status=found,
                reason=reason,
                evaluation=evaluation,
            ),
        ),
        chosen=0,
        recorded_evaluation=recorded_evaluation,
    )


def scaled(evaluation: Evaluation, factor: float) -> Evaluation:
    """The same evaluation with a candidate that takes so many times as long."""
    medians = {**MEDIANS_US, "candidate": tuple(factor * x for x in MEDIANS_US["candidate"])}
    subject = trial("candidate", medians=medians)
    return dataclasses.replace(
        evaluation,
        candidate=subject,
        comparisons=comparisons([subject, *evaluation.references]),
    )
