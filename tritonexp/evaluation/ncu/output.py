"""What ncu writes with --csv, and what it says where it cannot measure.

Does not cover its wide format (--page raw), which has a column for each metric.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass

READ, WRITTEN, DURATION = (
    "dram__bytes_read.sum",
    "dram__bytes_write.sum",
    "gpu__time_duration.sum",
)
METRICS = (READ, WRITTEN, DURATION)
# ncu's own names; older and newer versions differ for times
BYTES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
MICROSECONDS = {"nsecond": 1e-3, "usecond": 1.0, "msecond": 1e3, "second": 1e6}
MICROSECONDS |= {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}
UNITS = {READ: BYTES, WRITTEN: BYTES, DURATION: MICROSECONDS}
ERROR = "==ERROR=="
NO_KERNELS = "No kernels were profiled"
NO_PERMISSION = "ERR_NVGPUCTRPERM"
COLUMNS = ("ID", "Metric Name", "Metric Unit", "Metric Value")


class NcuError(Exception):
    """One call could not be measured."""


class NcuUnusableError(NcuError):
    """No call can be measured here."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Over all kernels of a call."""

    kernels: int
    read_bytes: int
    written_bytes: int
    kernel_us: float


def totals_of(log: str, prelude: int = 0) -> Totals:
    """Add up what ncu wrote of each kernel but the first few, which are the prelude.

    Raises NcuError where it measured none, and NcuUnusableError where it may not.
    """
    lines = log.splitlines()
    check(lines)
    heads = (n for n, line in enumerate(lines) if all(f'"{name}"' in line for name in COLUMNS))
    begin = next(heads, None)
    if begin is None:
        raise NcuError("ncu wrote no table")
    measured: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(line for line in lines[begin:] if line.startswith('"')):
        name = row["Metric Name"]
        if name in UNITS:
            # a line that is cut off has no last columns
            value = _number(name, row["Metric Value"] or "", row["Metric Unit"] or "")
            measured.setdefault(row["ID"], {})[name] = value
    kernels = list(measured.values())[prelude:]
    if not kernels:
        raise NcuError("ncu measured no kernel of the call")
    for name in METRICS:
        if any(name not in kernel for kernel in kernels):
            raise NcuError(f"ncu has no {name} of some of {len(kernels)} kernels")
    return Totals(
        kernels=len(kernels),
        read_bytes=round(sum(kernel[READ] for kernel in kernels)),
        written_bytes=round(sum(kernel[WRITTEN] for kernel in kernels)),
        kernel_us=sum(kernel[DURATION] for kernel in kernels),
    )


def check(lines: Sequence[str]) -> None:
    """Raise for what ncu itself calls an error, and for a call in which it saw nothing."""
    for line in lines:
        if NO_PERMISSION in line:
            raise NcuUnusableError(
                f"this user may not read the GPU's performance counters ({NO_PERMISSION})"
            )
    for line in lines:
        if line.startswith(ERROR):
            raise NcuError(f"ncu: {line.removeprefix(ERROR).strip()}")
        if NO_KERNELS in line:
            raise NcuError("the call launched no kernel that ncu could see")


def _number(name: str, text: str, unit: str) -> float:
    try:
        # thousands are grouped, also where a program is to read them
        value = float(text.replace(",", ""))
    except ValueError:
        value = math.nan
    scale = UNITS[name].get(unit)
    if scale is None or not 0 <= value < math.inf:
        raise NcuError(f"ncu wrote {text[:40]!r} {unit[:40]!r} for {name}, which is no amount")
    return value * scale
