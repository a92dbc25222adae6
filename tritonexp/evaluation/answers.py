"""What a worker's answers may hold; whatever else they hold is TAMPERING, never an error of ours.

A worker's own code answers in these forms. A candidate shares its process and can answer in its
place, so nothing is taken for granted but that it is JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tritonexp.evaluation.process import WorkerFailedError, legible
from tritonexp.records import Status

WORK_FIGURES = ("threads", "registers", "shared_bytes", "local_bytes")
TRAFFIC_FIGURES = (
    "launches",
    "read_bytes",
    "written_bytes",
    "torch_read_bytes",
    "torch_written_bytes",
)
NAMES_SHOWN = 3
WARP_THREADS = 32
# in whatever unit: longer than anybody waits
MAX_TIME = 1e15
# of whatever is counted: beyond it a ratio of two counts may be no number
MAX_COUNT = (1 << 63) - 1


def launched_of(answer: dict[str, Any]) -> Counter[str]:
    """How often which Triton kernel was launched."""
    launched = answer.get("launched")
    if not (
        isinstance(launched, dict)
        and all(map(_is_text, launched))
        and all(map(_is_count, launched.values()))
    ):
        raise _tampering("launched", launched)
    return Counter(launched)


def flag_of(answer: dict[str, Any], key: str) -> bool:
    """A truth value."""
    value = answer.get(key)
    if not isinstance(value, bool):
        raise _tampering(key, value)
    return value


def time_of(answer: dict[str, Any], key: str) -> float:
    """A positive time."""
    value: Any = answer.get(key)
    if not _is_time(value) or value == 0:
        raise _tampering(key, value)
    return float(value)


def rest_of(answer: dict[str, Any], key: str) -> float:
    """A time that may be none."""
    value: Any = answer.get(key)
    if not _is_time(value):
        raise _tampering(key, value)
    return float(value)


def times_of(answer: dict[str, Any], key: str, count: int) -> list[float]:
    """A number of times."""
    values = answer.get(key)
    if not isinstance(values, list) or len(values) != count or not all(map(_is_time, values)):
        raise _tampering(key, values)
    return [float(value) for value in values]


def kernels_of(answer: dict[str, Any]) -> list[tuple[str, int, float]]:
    """Names, launches and microseconds of GPU kernels."""
    kernels = answer.get("kernels")
    if not isinstance(kernels, list):
        raise _tampering("kernels", kernels)
    found = []
    for item in kernels:
        if not (
            isinstance(item, list)
            and len(item) == len(("name", "launches", "microseconds"))
            and _is_text(item[0])
            and _is_count(item[1])
            and _is_time(item[2])
        ):
            raise _tampering("kernels", item)
        found.append((item[0], item[1], float(item[2])))
    return found


def check_untouched(answer: dict[str, Any]) -> None:
    """Raise TAMPERING for what an implementation replaced, or set aside for itself."""
    replaced = answer.get("replaced")
    if not isinstance(replaced, list) or not all(isinstance(name, str) for name in replaced):
        raise _tampering("replaced", replaced)
    if replaced:
        shown = ", ".join(replaced[:NAMES_SHOWN])
        raise WorkerFailedError(
            Status.TAMPERING,
            f"it replaced, or hooked into, {shown[:200]}, by which it is called or timed; leave"
            " that out",
        )
    persisting_bytes = answer.get("persisting_l2_bytes", 0)
    if not _is_count(persisting_bytes):
        raise _tampering("persisting_l2_bytes", persisting_bytes)
    if persisting_bytes:
        raise WorkerFailedError(
            Status.TAMPERING,
            f"it set {persisting_bytes:,} bytes of the L2 cache aside for its own data, so that"
            " its calls found it warm",
        )


def work_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The GPU work of a graph: names and counts, and of kernels launch and code's figures."""
    work = answer.get("work")
    if not isinstance(work, list):
        raise _tampering("work", work)
    for item in work:
        if (
            not isinstance(item, dict)
            or not _is_text(item.get("name"))
            or not _is_count(item.get("count"))
        ):
            raise _tampering("work", item)
        flag_of(item, "own")
        if flag_of(item, "is_kernel") and not (
            isinstance(item.get("grid"), list)
            and all(map(_is_count, item["grid"]))
            and all(_is_count(item.get(key)) for key in WORK_FIGURES)
            and _is_held(item)
        ):
            raise _tampering("work", item)
    return work


def compiling_of(answer: dict[str, Any]) -> tuple[float | None, float | None]:
    """Seconds of a call that compiling took, and autotuning; None for what was not counted."""
    found = []
    for key in ("compile_s", "autotune_s"):
        value: Any = answer.get(key)
        if value is not None and not _is_time(value):
            raise _tampering(key, value)
        found.append(None if value is None else float(value))
    return found[0], found[1]


def counts_of(answer: dict[str, Any], keys: Sequence[str]) -> tuple[int, ...]:
    """Whole numbers, none of them negative, under some keys."""
    for key in keys:
        if not _is_count(answer.get(key)):
            raise _tampering(key, answer.get(key))
    return tuple(int(answer[key]) for key in keys)


def counts_in(answer: dict[str, Any], key: str, length: int) -> list[int]:
    """A list of so many whole numbers, none of them negative."""
    values = answer.get(key)
    if not isinstance(values, list) or len(values) != length or not all(map(_is_count, values)):
        raise _tampering(key, values)
    return values


def _is_held(item: dict[str, Any]) -> bool:
    """Whether what a multiprocessor holds of a kernel is unknown, or no more than it can hold."""
    blocks: Any = item.get("blocks_per_sm")
    most: Any = item.get("threads_per_sm")
    if blocks is None and most is None:
        return True
    if not (_is_count(blocks) and _is_count(most)):
        return False
    held: int = blocks * -(-item["threads"] // WARP_THREADS) * WARP_THREADS
    return bool(WARP_THREADS <= most >= held)


def _is_text(value: object) -> bool:
    """Whether it is text that a record can hold: not half of a surrogate pair."""
    return isinstance(value, str) and legible(value) == value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _is_time(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        # a whole number may be longer than any that there is a float for
        and 0 <= value <= MAX_TIME
    )


def _tampering(key: str, value: Any) -> WorkerFailedError:
    return WorkerFailedError(
        Status.TAMPERING, f"a worker answered {key}={str(value)[:80]!r}, which none of ours does"
    )
