"""Whether a timed call found cold data: how much the buffers that calls rotate through hold.

Follows the referee's rule for their number from what the record has. Does not cover what of an
argument a kernel reads at all, nor what the L2 keeps of buffers that are a little larger than it.
"""

from __future__ import annotations

import math

from tritonexp.records import Clock, Evaluation, Gpu, OperationBrief, Size, TimingProtocol
from tritonexp.report import ceiling, words

# the least and the most sets of buffers, as the referee has them
LEAST_SETS, MOST_SETS = 2, 512
# as many at least as this part of the GPU's memory holds
EVEN_SETS, EVEN_SHARE = 64, 1 / 128
# with a smaller factor a protocol does not ask for cold data
LEAST_FACTOR = 1.0


def in_short(protocol: TimingProtocol) -> str:
    """What calls are made on, in a phrase."""
    if protocol.clock is Clock.HOST:
        return "one buffer, which stays warm"
    if protocol.clock is Clock.EVENTS:
        return "buffers that are flushed from the cache"
    if protocol.cold_factor <= LEAST_FACTOR:
        return "buffers that may stay in the cache"
    return (
        f"rotating buffers of at least {protocol.cold_factor:g} times the L2, as far as {MOST_SETS}"
        " sets reach"
    )


def sentence(brief: OperationBrief, evaluation: Evaluation) -> str:
    """What the buffers of a graph's calls held at each size; "" for another protocol."""
    protocol, gpu = evaluation.protocol, evaluation.environment.gpu
    if protocol is None or protocol.clock is not Clock.GRAPH:
        return ""
    flushed = [size for size in evaluation.sizes if _is_flushed(evaluation, size)]
    told = []
    cold: list[Size] = []
    for size in evaluation.sizes:
        if size in flushed:
            continue
        size_bytes = ceiling.call_bytes(brief, size, evaluation.dtype)
        if size_bytes is None or gpu is None:
            return f"Calls were made on {in_short(protocol)}."
        sets = sets_of(size_bytes, gpu, protocol)
        held = sets * size_bytes / gpu.l2_bytes
        if protocol.cold_factor > LEAST_FACTOR and held >= protocol.cold_factor:
            cold.append(size)
            continue
        most = ", the most that there are," if sets == MOST_SETS else ""
        told.append(
            f"At {size.label} {sets} sets{most} hold {words.factor(held)} times the L2, so that a"
            " call may find warm data."
        )
    if cold:
        where = "" if len(cold) == len(evaluation.sizes) else f" at {_listed(cold)}"
        told.insert(
            0,
            f"Rotating buffers together hold at least {protocol.cold_factor:g} times the L2{where},"
            " so that a call finds cold data.",
        )
    if flushed:
        told.append(
            f"At {_listed(flushed)} calls were timed by events, with the cache flushed before each."
        )
    return " ".join(told)


def sets_of(size_bytes: int, gpu: Gpu, protocol: TimingProtocol) -> int:
    """How many sets of buffers calls of so many bytes rotate through."""
    wanted = max(LEAST_SETS, math.ceil(protocol.cold_factor * gpu.l2_bytes / size_bytes))
    if protocol.cold_factor > LEAST_FACTOR:
        wanted = max(wanted, min(EVEN_SETS, int(EVEN_SHARE * gpu.memory_bytes / size_bytes)))
    return min(MOST_SETS, wanted)


def _is_flushed(evaluation: Evaluation, size: Size) -> bool:
    timings = (trial.timing_at(size) for trial in evaluation.trials)
    return any(item is not None and item.clock is Clock.EVENTS for item in timings)


def _listed(sizes: list[Size]) -> str:
    return ", ".join(size.label for size in sizes)
