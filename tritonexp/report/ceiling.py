"""How near the hardware's ceiling each side came: rates that follow from the record's floors.

A record holds no bytes and no operations of a call, but a floor is made of one or the other and of
a measured ceiling, so the floor over a time is the achieved part of that ceiling.

Does not cover what a kernel really moved or computed, which was not measured; nor host time, which
no ceiling bounds.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal

from tritonexp.records import (
    Clock,
    Evaluation,
    Interval,
    OperationBrief,
    Size,
    StudyRecord,
    Timing,
    Trial,
)
from tritonexp.report import view, words

Kind = Literal["memory", "compute"]

ITEMSIZE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
# a floor below this is no longer than some launches and ways to memory, which it leaves out
SHORT_US = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """A measured ceiling with the sizes whose floor it sets."""

    kind: Kind
    rate: float  # GB/s of a copy, or TFLOP/s of a matmul
    copy_gb_s: float
    sizes: tuple[Size, ...]

    @property
    def unit(self) -> str:
        """The unit of its rate."""
        return "GB/s" if self.kind == "memory" else "TFLOP/s"

    @property
    def label(self) -> str:
        """The ceiling in words."""
        return f"{'copy' if self.kind == 'memory' else 'matmul'} at {self.rate:,.0f} {self.unit}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rate:
    """What one side achieved at one size, in the unit of its bound."""

    value: float
    interval: Interval
    fraction: float  # of the ceiling


def bounds_of(evaluation: Evaluation) -> tuple[Bound, ...]:
    """The ceilings that bound any of the sizes, memory first; none where no floor is known."""
    ceilings = evaluation.ceilings
    if ceilings is None:
        return ()
    kinds = {size: kind for size in evaluation.sizes if (kind := _floor_of(evaluation, size)[1])}
    rates: tuple[tuple[Kind, float | None], ...] = (
        ("memory", ceilings.copy_gb_s),
        ("compute", ceilings.matmul_tflop_s.get(evaluation.dtype)),
    )
    return tuple(
        Bound(kind=kind, rate=rate, copy_gb_s=ceilings.copy_gb_s, sizes=sizes)
        for kind, rate in rates
        if rate is not None and (sizes := tuple(size for size in kinds if kinds[size] == kind))
    )


def floor_us(evaluation: Evaluation, size: Size) -> float | None:
    """The least time of a call at a size, which is the same for all sides."""
    return _floor_of(evaluation, size)[0]


def rate_of(trial: Trial, size: Size, bound: Bound) -> Rate | None:
    """What a side achieved of a bound; None where it was not timed."""
    timing = trial.timing_at(size)
    if timing is None or timing.floor_us is None or timing.fraction_of_ceiling is None:
        return None
    amount = bound.rate * timing.floor_us
    return Rate(
        value=bound.rate * timing.fraction_of_ceiling,
        interval=Interval(
            low=amount / timing.interval_us.high, high=amount / timing.interval_us.low
        ),
        fraction=timing.fraction_of_ceiling,
    )


def is_short(least_us: float) -> bool:
    """Whether launch and latency weigh so much that a part of the ceiling says little."""
    return least_us < SHORT_US


def intensity_of(
    brief: OperationBrief, evaluation: Evaluation, size: Size, bound: Bound
) -> float | None:
    """Floating point operations per byte of the arguments and results.

    Known where the floor is made of operations, and the brief tells the shapes of all tensors.
    """
    least_us, size_bytes = floor_us(evaluation, size), call_bytes(brief, size, evaluation.dtype)
    if bound.kind != "compute" or least_us is None or size_bytes is None:
        return None
    # us x TFLOP/s = 1e6 operations
    return least_us * bound.rate * 1e6 / size_bytes


def call_bytes(brief: OperationBrief, size: Size, dtype: str) -> int | None:
    """Bytes of all tensor arguments and results, by their shapes as the brief words them.

    None where it does not word the shapes of all of them.
    """
    extents, itemsize = size.as_dict(), ITEMSIZE_BYTES.get(dtype)
    texts = [*(argument.description for argument in brief.arguments), brief.result]
    told = [shape for text in texts for shape in re.findall(r"tensor \[(.*?)\]", text)]
    shapes = [shape.split(", ") for shape in told]
    if itemsize is None or not shapes or not {axis for one in shapes for axis in one} <= {*extents}:
        return None
    return itemsize * sum(math.prod(extents[axis] for axis in shape) for shape in shapes)


def section(record: StudyRecord, shown: view.Timed | None) -> str:
    """The report's section: every side's part of the ceiling, and the picture."""
    if shown is None:
        return ""
    lines = [f"## How near the ceiling ({shown.label})", ""]
    evaluation = shown.evaluation
    bounds = bounds_of(evaluation)
    if not bounds:
        why = (
            "the ceiling bounds device time, and this is host time"
            if shown.clock is Clock.HOST
            else "no ceiling was measured"
        )
        return "\n".join([*lines, f"{words.MISSING} ({why})"])
    lines += [
        (
            "The floor (the least time that the measured ceiling allows) over the median time:"
            f" {' and '.join(item.label for item in bounds)}. At 1 nothing is left to gain."
        ),
        "",
        words.table(
            ["size", "bound by", "floor (µs)", *(_name(trial) for trial in evaluation.trials)],
            [
                [
                    size.label,
                    bound.kind,
                    words.time_us(floor_us(evaluation, size)),
                    *(
                        words.fraction(rate.fraction if rate else None)
                        for rate in (rate_of(trial, size, bound) for trial in evaluation.trials)
                    ),
                ]
                for bound in bounds
                for size in bound.sizes
            ],
        ),
    ]
    short = [
        size.label
        for size in evaluation.sizes
        if (least := floor_us(evaluation, size)) is not None and is_short(least)
    ]
    if short:
        lines += [
            "",
            (
                "The floor leaves out what a launch and the way to memory take, which was not"
                f" measured. Where it is below {SHORT_US:g} µs ({', '.join(short)}), a low"
                " fraction may be due to these rather than to the kernel."
            ),
        ]
    picture = f"{record.brief.title}: achieved {' and '.join(item.unit for item in bounds)} by size"
    return "\n".join([*lines, "", f"![{picture}, beside the ceiling](plots/ceiling.png)"])


def _floor_of(evaluation: Evaluation, size: Size) -> tuple[float | None, str | None]:
    timings: list[Timing] = [
        timing for trial in evaluation.trials if (timing := trial.timing_at(size))
    ]
    return next(
        ((item.floor_us, item.floor_kind) for item in timings if item.floor_us is not None),
        (None, None),
    )


def _name(trial: Trial) -> str:
    return trial.implementation.name
