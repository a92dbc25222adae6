"""Looks at whose kernels a timed call ran, and fails a candidate that others work for.

Its graph tells, where it holds nothing but launches of the file's own kernels. Elsewhere a fresh
worker, whose profiler was started before it was sealed, runs the call once more.

Does not cover what a share is, nor when it is enough: see ownership.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import answers, inputs, ownership
from tritonexp.evaluation.forkserver import ForkServer
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.process import START_TIMEOUT_S, Crew, WorkerFailedError, WorkerProcess
from tritonexp.evaluation.verification import Subject
from tritonexp.operations import Spec
from tritonexp.records import KernelShare, Size, Status


def look_at_kernels(
    judged: Subject,
    timed: Sequence[tuple[Size, Lane]],
    spec: Spec,
    server: Callable[[], ForkServer],
    timeout_s: float,
    progress: Callable[[str], None],
) -> tuple[KernelShare, ...]:
    """Whose kernels a call runs, of all sizes that were timed; the largest is shown.

    A fresh worker is forked from the `server` where a graph does not tell. Raises EvaluationError
    where it cannot be started.
    """
    kernels: tuple[KernelShare, ...] = ()
    with contextlib.ExitStack() as stack:
        profiling: Crew | None = None
        for size, lane in sorted(timed, key=lambda pair: math.prod(pair[0].extents)):
            if judged.failure is not None:
                break
            progress(f"looking at the kernels at {size.label}")
            known = ownership.shares_in_graph(lane)
            if known is not None:
                kernels = known
                continue
            if profiling is None:
                profiling = _profiling_crew(judged, server())
                stack.callback(profiling.close)
            kernels = _profiled_kernels(judged, profiling, spec, size, lane, timeout_s)
    return kernels


def _profiling_crew(judged: Subject, server: ForkServer) -> Crew:
    """A fresh worker that holds what is judged, and can profile; the one before it is ended.

    Where it cannot be started that is no fault of the judged.
    """
    worker = judged.worker
    worker.close()
    crew = Crew(server, worker.implementation, held=1, profile=True)
    # asked before it holds the file, whose word this is not
    try:
        answer = crew.workers[0].call("can_profile", START_TIMEOUT_S)
        why = "" if answers.flag_of(answer, "can_profile") else "it sees nothing of the GPU"
    except WorkerFailedError as failure:
        why = failure.reason
    if why:
        crew.close()
        raise EvaluationError(
            "a call runs kernels that are not the file's, and torch's profiler, which tells"
            f" their share, cannot be used in a confined worker: {why}. Nothing can be said of"
            " this kernel here; try sandbox=off, on a machine that you can spare."
        )
    crew.start([worker.arena])
    return crew


def _profiled_kernels(
    judged: Subject, profiling: Crew, spec: Spec, size: Size, lane: Lane, timeout_s: float
) -> tuple[KernelShare, ...]:
    layout = lay_out(spec, size, spec.timed_dtype, 1)
    worker = profiling.workers[0]
    draw = inputs.drawer(spec, size, spec.timed_dtype, "cuda")
    layout.write(worker.arena, 0, draw(inputs.ordinary(spec)))
    torch.cuda.synchronize()
    try:
        if not worker.started:
            # the profiler takes its time, whatever a call may
            worker.step_start(START_TIMEOUT_S)
        worker.finish_start(timeout_s)
        arguments = layout.sets[0]
        found = [_profiled_once(worker, arguments, size, lane, timeout_s)]
        if found[0][1]:
            # another program's turn on the GPU may have come into one of some microseconds
            found += [_profiled_once(worker, arguments, size, lane, timeout_s) for _ in range(2)]
    except WorkerFailedError as failure:
        judged.fail(failure)
        return ()
    shares, why = ownership.usual(found)
    if why:
        judged.fail(WorkerFailedError(Status.NOT_TRITON, why))
    return shares


def _profiled_once(
    worker: WorkerProcess,
    arguments: list[dict[str, Any]],
    size: Size,
    lane: Lane,
    timeout_s: float,
) -> tuple[tuple[KernelShare, ...], str]:
    """Whose kernels a call ran by the profiler, and what speaks against it."""
    answer = worker.call("profile", timeout_s, arguments=arguments)
    answers.check_untouched(answer)
    work = answers.work_of(answer)
    shares = ownership.shares_of(
        answers.kernels_of(answer), work, answers.launched_of(answer), lane.median_us
    )
    return shares, ownership.why_not_own(lane, size.label, shares, work)
