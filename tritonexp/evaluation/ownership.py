"""Whose kernels did the work of a timed call: the candidate's own, or somebody else's.

Of a CUDA graph, a kernel is own when its function is one that the candidate's Triton kernels were
launched with (see watching.Launches). Where a graph holds more than these, the profiler tells how
much of a call's GPU time is whose.

Does not cover own work that is of no use: that a result needs it is verified without a graph.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tritonexp.evaluation.lanes import Lane
from tritonexp.records import KernelShare

# how much of a call's GPU time the candidate's own Triton kernels must own
OWN_SHARE = 0.9
# how much longer a call may take under the profiler, where the GPU was idle before
MAX_STRETCH = 2.0


def shares_in_graph(lane: Lane) -> tuple[KernelShare, ...] | None:
    """The kernels of a timed call, all of them own launches; None where they may not be."""
    timed = per_call(lane.work, lane.calls)
    launched = {name: count / lane.calls for name, count in lane.launched.items()}
    if not timed or timed != launched or not all(item["own"] for item in lane.work):
        return None
    return tuple(
        KernelShare(
            name=name,
            launches=math.ceil(count),
            share=1.0 if len(timed) == 1 else None,
            own=True,
        )
        for name, count in sorted(timed.items())
    )


def shares_of(
    profiled: Sequence[tuple[str, int, float]],
    work: Sequence[dict[str, Any]],
    launched: Counter[str],
    timed_us: float,
) -> tuple[KernelShare, ...]:
    """What the profiler saw of a call: (name, launches, microseconds) of each kernel.

    `work` is what the call's graph holds; without one, names and counts of the launches must do.
    `timed_us` is what a call took when it was timed: own kernels that take much longer only where
    they are looked at have no larger share for it.
    """
    own = _own_counts(work) if work else launched
    own_us = sum(us for name, launches, us in profiled if launches == own[name])
    others_us = sum(us for name, launches, us in profiled if launches != own[name])
    believed_us = min(own_us, max(0.0, MAX_STRETCH * timed_us - others_us))
    total_us = believed_us + others_us
    stretch = own_us / believed_us if believed_us else math.inf
    if not total_us:
        # nothing was seen: what the graph holds is known, and not what it costs
        return tuple(
            KernelShare(name=name, launches=count, share=None, own=own[name] == count)
            for name, count in sorted(_counts(work).items())
        )
    return tuple(
        KernelShare(
            name=name,
            launches=launches,
            share=us / total_us / (stretch if launches == own[name] else 1.0),
            own=launches == own[name],
        )
        for name, launches, us in profiled
    )


def usual(
    looks: Sequence[tuple[tuple[KernelShare, ...], str]],
) -> tuple[tuple[KernelShare, ...], str]:
    """Of an odd number of looks at a call, with what speaks against each, one as most of them."""
    against, for_it = ([look for look in looks if bool(look[1]) is says] for says in (True, False))
    return max(against, for_it, key=len)[0]


def why_not_own(
    lane: Lane, label: str, shares: Sequence[KernelShare], work: Sequence[dict[str, Any]]
) -> str:
    """Why a call is not a candidate's own work; "" where it is."""
    timed, looked_at = _others_in(lane.work, lane.calls), _others_in(work, 1)
    # own kernels may be others, where an autotuner tunes anew
    if lane.work and timed != looked_at:
        return (
            f"the graph that was timed at {label} holds, beside its own kernels, {_listed(timed)}"
            f" for a call, and one captured for a closer look {_listed(looked_at)}"
        )
    others = ", ".join(item.name for item in shares if not item.own) or "nothing"
    if all(item.share is None for item in shares):
        # copies and fills alone can compute nothing
        foreign = [str(item["name"]) for item in work if item["is_kernel"] and not item["own"]]
        if foreign or not any(item.own for item in shares):
            return f"the profiler saw nothing of a call at {label}, which runs {others} too"
        return ""
    owned = sum(item.share or 0.0 for item in shares if item.own)
    if owned < OWN_SHARE:
        return (
            f"its own Triton kernels own {owned:.0%} of the GPU time of a call at {label}, and"
            f" {OWN_SHARE:.0%} is asked for; the rest is {others}"
        )
    return ""


def per_call(work: Sequence[dict[str, Any]], calls: int) -> dict[str, float]:
    """How many nodes of each name a graph holds for each of its calls."""
    return {name: count / calls for name, count in _counts(work).items()}


def _others_in(work: Sequence[dict[str, Any]], calls: int) -> dict[str, float]:
    return per_call([item for item in work if not item["own"]], calls)


def _counts(work: Sequence[dict[str, Any]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for item in work:
        counts[str(item["name"])] += item["count"]
    return counts


def _own_counts(work: Sequence[dict[str, Any]]) -> Counter[str]:
    return _counts([item for item in work if item["own"]])


def _listed(counts: dict[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in sorted(counts.items())) or "nothing"
