"""What is right: float64 expected values, the error of a result, and how much of it is allowed.

The error of a row (of the last axis) is its largest |out - float64| over its largest |float64|, in
units of the dtype's machine epsilon; the worst row counts. Judged at the row's scale, the small
elements of a softmax may be off by as much as the large ones, and sums of k products need no
allowance that grows with k: their rounding errors add up at random, and so do the sums. A row
never has a scale below the smallest normal number: from there down the dtype's values lie eps x
that number apart, so a row that should be all zeros may be off by a few of the smallest steps.
NaN and infinities must be where float64 has them. Where float64 lies beyond the dtype's finite
range, the infinity of that sign is right, and so is the largest finite value.

Allowed is the larger of `baseline_factor` x the baseline's own error on the case and `floor_ulp`,
and at most LARGEST_ALLOWED_ULP. The baseline itself is held to the latter: a case
where it fails is too ill-conditioned to tell a right kernel from a wrong one and does not belong
in a spec.

Does not cover results that are integers or float64, and errors that are small at the row's scale
but large for the element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tritonexp.errors import OperationError, ReferenceFailedError
from tritonexp.operations import Spec
from tritonexp.records import Case, CaseResult, Status

# float32: one rounding to float16 or TF32 costs up to half their epsilon, 4,096 ulp, and rarely
# less than an eighth of that in the worst of several rows.
# float16 and bfloat16: what one rounding to the next smaller format (bfloat16, and float8 with
# three bits of mantissa) costs; it leaves a 16-bit baseline room for a handful of roundings.
# zeros in place of a row are off by 1 / epsilon: 8,388,608, 1,024 and 128 ulp
LARGEST_ALLOWED_ULP = {"float32": 512.0, "float16": 4.0, "bfloat16": 8.0}

# a few float64 temporaries of so many elements are all that a comparison holds
ELEMENTS_AT_ONCE = 1 << 23

VALUE_CHARACTERS = 80  # of something odd that a worker sent, in a reason


@dataclass(frozen=True, kw_only=True)
class ErrorFigures:
    """How far results are from float64; infinite where NaN or infinities are out of place."""

    error_ulp: float
    max_abs_error: float
    misplaced: int  # elements that are NaN or infinite where they should not be, or the reverse
    result: int  # which result is worst
    worst: tuple[int, ...]  # index of the worst element of its worst row


def reference(function: Callable[..., Any], arguments: Sequence[Any]) -> list[torch.Tensor]:
    """The results of a baseline on float64 copies of its tensors; scalars go in as they are.

    Raises ReferenceFailedError for a baseline that raises, or that computes in less than float64.
    """
    copies = [
        argument.to(torch.float64, copy=True)
        if isinstance(argument, torch.Tensor) and argument.is_floating_point()
        else argument
        for argument in arguments
    ]
    try:
        with torch.no_grad(), _StaysWide():
            found = function(*copies)
    except ReferenceFailedError:
        raise
    except Exception as error:
        raise ReferenceFailedError(
            f"the baseline failed in float64: {type(error).__name__}: {error}"
        ) from error
    results = list(found) if isinstance(found, tuple | list) else [found]
    for result in results:
        if not (isinstance(result, torch.Tensor) and result.dtype == torch.float64):
            raise ReferenceFailedError(
                f"the baseline gave {getattr(result, 'dtype', type(result).__name__)} where"
                " float64 was expected; let its dtypes follow its arguments'."
            )
    return results


def error_of(
    outputs: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], dtype: str
) -> ErrorFigures:
    """The error of a call's results of a dtype, as the module defines it; all on one device."""
    pairs = enumerate(zip(outputs, expected, strict=True))
    figures = [_error_of_result(index, out, wanted, dtype) for index, (out, wanted) in pairs]
    worst = max(figures, key=lambda item: item.error_ulp)
    return replace(
        worst,
        max_abs_error=max(item.max_abs_error for item in figures),
        misplaced=sum(item.misplaced for item in figures),
    )


def allowed_error_ulp(spec: Spec, dtype: str, baseline_error_ulp: float | None) -> float:
    """How far a result may be off; the least that is ever allowed where no baseline is known."""
    if dtype not in LARGEST_ALLOWED_ULP:
        raise OperationError(
            f"results of {dtype} cannot be judged; a spec's dtypes may be"
            f" {', '.join(LARGEST_ALLOWED_ULP)}."
        )
    of_baseline = spec.baseline_factor * (baseline_error_ulp or 0.0)
    return min(LARGEST_ALLOWED_ULP[dtype], max(of_baseline, spec.floor_ulp))


def judge(
    outputs: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    baseline_error_ulp: float | None,
    spec: Spec,
    case: Case,
    figures: ErrorFigures | None = None,
) -> CaseResult:
    """Hold the results of one case against float64; their form was checked before.

    `baseline_error_ulp` is the baseline's error_of on the case, by which it is judged itself; None
    where it did not run. `figures` are the error_of of the results, where they are known. What is
    infinite, for misplaced NaN or infinities, is left out of the record.
    """
    if figures is None:
        figures = error_of(outputs, expected, case.dtype)
    allowed = allowed_error_ulp(spec, case.dtype, baseline_error_ulp)
    right = figures.error_ulp <= allowed
    return CaseResult(
        case=case,
        status=Status.CORRECT if right else Status.INCORRECT,
        reason="" if right else _reason(outputs, expected, figures, allowed),
        error_ulp=_if_finite(figures.error_ulp),
        baseline_error_ulp=None if baseline_error_ulp is None else _if_finite(baseline_error_ulp),
        allowed_error_ulp=allowed,
        max_abs_error=_if_finite(figures.max_abs_error),
    )


def check_form(
    answer: Mapping[str, Any],
    baseline_answer: Mapping[str, Any],
    outputs: Sequence[Mapping[str, Any]],
    device: str,
) -> str | None:
    """Why a call's results do not have the form of the baseline's; None where they do.

    An answer is what a worker says of a call: the type of what was returned, and of each result
    its type, shape, dtype, device, strides, aliases_input and aliases_earlier. `outputs` are the
    shapes and dtypes that are expected, `device` is cpu or cuda. Results must be contiguous, as
    their readers will take them to be, and may lie in an input only where the baseline's do. A
    worker may say anything, so everything is compared; what a lie can gain is bounded by the
    values, which are read from the referee's own memory.
    """
    if answer.get("type") != baseline_answer["type"]:
        return (
            f"{_short(answer.get('type'))} was returned where the baseline returns"
            f" {baseline_answer['type']}"
        )
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(outputs):
        count = len(results) if isinstance(results, list) else 0
        return f"{count} results were returned where {len(outputs)} are expected"
    for index, (said, slot) in enumerate(zip(results, outputs, strict=True)):
        may_alias = baseline_answer["results"][index].get("aliases_input") is True
        reason = _check_result(said, slot, device, may_alias=may_alias)
        if reason is not None:
            return f"{_name(index, len(outputs))} {reason}"
    return None


class _StaysWide(TorchDispatchMode):  # type: ignore[misc]  # torch ships no types
    """Refuse operations that leave float64, or a baseline's cast would spoil its own reference."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if not isinstance(result, torch.Tensor) or not result.is_floating_point():
                continue
            # a 0-d tensor is a constant of the baseline
            if result.dtype != torch.float64 and result.ndim:
                raise ReferenceFailedError(
                    f"the baseline computes {func} in {result.dtype} when given float64, so there"
                    " is no float64 reference; widen by torch.promote_types(x.dtype,"
                    " torch.float32) in place of a fixed dtype."
                )
        return results


@dataclass(frozen=True, kw_only=True)
class _RowFigures:
    """Of each row of a block."""

    off: torch.Tensor  # largest |out - float64|, infinite where something is misplaced
    column: torch.Tensor  # where that is
    scale: torch.Tensor  # largest finite |float64|, at most the dtype's largest
    misplaced: torch.Tensor | None  # how many, in the whole block; None for none


@dataclass(frozen=True, kw_only=True)
class _Worst:
    """Of a block of rows."""

    error_ulp: float
    row: int
    column: int
    largest_off: float
    largest_scale: float
    misplaced: int


def _error_of_result(
    result: int, out: torch.Tensor, expected: torch.Tensor, dtype: str
) -> ErrorFigures:
    limits = torch.finfo(getattr(torch, dtype))
    columns = expected.shape[-1] if expected.ndim else 1
    got, wanted = out.reshape(-1, columns), expected.reshape(-1, columns)
    height = max(1, ELEMENTS_AT_ONCE // columns)
    error_ulp, max_abs_error, misplaced, worst = -1.0, 0.0, 0, 0
    for top in range(0, len(wanted), height):
        rows = got[top : top + height], wanted[top : top + height]
        found = _compare_plain(*rows, limits) or _worst_of(_compare_rows(*rows, limits), limits)
        if found.error_ulp > error_ulp:
            error_ulp = found.error_ulp
            worst = (top + found.row) * columns + found.column
        max_abs_error = max(max_abs_error, found.largest_off)
        misplaced += found.misplaced
    return ErrorFigures(
        error_ulp=error_ulp,
        max_abs_error=max_abs_error,
        misplaced=misplaced,
        result=result,
        worst=_index_of(worst, tuple(expected.shape)),
    )


def _compare_plain(got: torch.Tensor, wanted: torch.Tensor, limits: Any) -> _Worst | None:
    """What _compare_rows finds where all is finite and within the dtype's range; None elsewhere.

    That is so in most cases, and takes a third of the operations.
    """
    if wanted.shape[1] > ELEMENTS_AT_ONCE:
        return None
    off, column = (got.double() - wanted).abs().max(dim=1)
    scale = wanted.abs().amax(dim=1)
    found = _worst_of(_RowFigures(off=off, column=column, scale=scale, misplaced=None), limits)
    # NaN is larger than everything here, and a difference of infinities is NaN
    is_plain = math.isfinite(found.largest_off) and found.largest_scale <= limits.max
    return found if is_plain else None


def _worst_of(block: _RowFigures, limits: Any) -> _Worst:
    row_ulp, row = (block.off / block.scale.clamp(min=limits.tiny) / limits.eps).max(dim=0)
    figures = [row_ulp, row, block.column[row], block.off.max(), block.scale.max()]
    if block.misplaced is not None:
        figures.append(block.misplaced)
    # all at once: each figure by itself would wait for the GPU; whole numbers stay whole
    error_ulp, worst_row, column, off, scale, *misplaced = torch.stack(
        [figure.double() for figure in figures]
    ).tolist()
    return _Worst(
        error_ulp=error_ulp,
        row=int(worst_row),
        column=int(column),
        largest_off=off,
        largest_scale=scale,
        misplaced=int(sum(misplaced)),
    )


def _compare_rows(got: torch.Tensor, wanted: torch.Tensor, limits: Any) -> _RowFigures:
    rows, columns = wanted.shape
    off = torch.full((rows,), -1.0, dtype=torch.float64, device=wanted.device)
    scale = torch.zeros_like(off)
    column = torch.zeros_like(off, dtype=torch.int64)
    misplaced = torch.zeros((), dtype=torch.int64, device=wanted.device)
    # a block of one row may still be wider than what is held at once
    for left in range(0, columns, ELEMENTS_AT_ONCE):
        out = got[:, left : left + ELEMENTS_AT_ONCE].double()
        float64 = wanted[:, left : left + ELEMENTS_AT_ONCE]
        within = float64.clamp(-limits.max, limits.max)
        finite = float64.isfinite()
        comparable = finite & out.isfinite()
        # beyond the finite range the right infinity; elsewhere the value itself
        rounded = torch.where(float64 == within, float64, float64.sign() * math.inf)
        placed = comparable | (out == rounded) | (out.isnan() & float64.isnan())
        difference = torch.where(comparable, (out - within).abs(), 0.0)
        difference.masked_fill_(~placed, math.inf)
        largest, where = difference.max(dim=1)
        column = torch.where(largest > off, where + left, column)
        off = torch.maximum(off, largest)
        scale = torch.maximum(scale, torch.where(finite, within.abs(), 0.0).amax(dim=1))
        misplaced += (~placed).sum()
    return _RowFigures(off=off, column=column, scale=scale, misplaced=misplaced)


def _index_of(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index: list[int] = []
    for extent in reversed(shape):
        flat, position = divmod(flat, extent)
        index.insert(0, position)
    return tuple(index)


def _reason(
    outputs: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    figures: ErrorFigures,
    allowed: float,
) -> str:
    name = _name(figures.result, len(outputs))
    got = float(outputs[figures.result][figures.worst])
    wanted = float(expected[figures.result][figures.worst])
    at = f"at {list(figures.worst)}: {got:.6g} where float64 gives {wanted:.6g}"
    if figures.misplaced:
        total = sum(item.numel() for item in expected)
        return (
            f"{figures.misplaced} of {total} elements are NaN or infinite where they should not be,"
            f" or the reverse; {name} {at}"
        )
    return (
        f"{name} is off by {figures.error_ulp:.4g} ulp where {allowed:.4g} are allowed, worst {at}"
    )


def _name(index: int, count: int) -> str:
    return "the result" if count == 1 else f"result {index + 1}"


def _if_finite(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def _check_result(
    said: Any, slot: Mapping[str, Any], device: str, *, may_alias: bool
) -> str | None:
    if not isinstance(said, dict):
        return f"was described as {_short(said)}"
    shape = list(slot["shape"])
    expected = {"type": "torch.Tensor", "shape": shape, "dtype": slot["dtype"], "device": device}
    for key, value in expected.items():
        if said.get(key) != value:
            return f"has {key} {_short(said.get(key))} where {value} is expected"
    if not _is_contiguous(said.get("strides"), shape):
        return f"has strides {_short(said.get('strides'))} and is not contiguous"
    if said.get("aliases_earlier") is not False:
        return "lies in the memory of an earlier result, which it overwrote; return a new tensor"
    if said.get("aliases_input") is not False and not may_alias:
        return "shares its memory with an input; return a new tensor"
    return None


def _is_contiguous(strides: Any, shape: Sequence[int]) -> bool:
    if not isinstance(strides, list) or len(strides) != len(shape):
        return False
    step = 1
    for stride, extent in zip(reversed(strides), reversed(shape), strict=True):
        # the stride of an axis of extent 1 is never used
        if extent != 1 and stride != step:
            return False
        step *= extent
    return True


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}..."
