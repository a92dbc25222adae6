"""Tells whether another program has the GPU work, by copies of the referee's own.

Programs take turns on a GPU, of some milliseconds each. What is shorter fits between two turns of
the other's and is as fast as ever, what is longer does not, so that ratios of the two are wrong.
Does not cover other work that is over when the rounds are, nor such as runs beside ours, as under
MPS.
"""

from __future__ import annotations

import contextlib
import math
import time

import torch

from tritonexp.errors import DisturbedError, EvaluationError
from tritonexp.evaluation.process import WorkerProcess

# a copy takes some tens of microseconds, which is much longer than to ask for it
COPY_BYTES = 64 << 20
# shorter than a turn, and longer than some
SHORT_US, LONG_US = 400.0, 8_000.0
SHORT_TRIES = 5
# how much longer a copy may take over the longer time
MAX_SLOWDOWN = 1.1
# who shares a GPU by turns is there each time, what a desktop does is not
LOOKS = 3
# what a process began on the GPU before it was stopped is over by then
REST_S = 0.2


def use_gpu() -> None:
    """Be the last who used the GPU, as another lane is in the rounds: the switch takes a while."""
    torch.zeros(1, device="cuda")
    torch.cuda.synchronize()


class Probe:
    """Memory of the GPU's to copy; raises EvaluationError where there is none left."""

    def __init__(self) -> None:
        try:
            both = torch.empty((2, COPY_BYTES), dtype=torch.uint8, device="cuda")
        except torch.OutOfMemoryError as error:
            raise EvaluationError(
                f"{2 * COPY_BYTES:,} bytes of the GPU's memory, to see whether another program"
                " uses it, are not free. End what else uses the GPU, or choose smaller sizes."
            ) from error
        self._source, self._target = both

    def check_quiet(self, candidate: WorkerProcess | None = None) -> None:
        """Raise DisturbedError where somebody else than the candidate has the GPU work."""
        with candidate.paused() if candidate is not None else contextlib.nullcontext():
            if self.slowdown() <= MAX_SLOWDOWN:
                return
            # it may be what the candidate began, which others are to tell of, or only once so
            time.sleep(REST_S)
            found = min(self.slowdown() for _ in range(LOOKS))
        if found > MAX_SLOWDOWN:
            raise DisturbedError(
                f"copies of the referee's own took {found:.2f} times as long over"
                f" {LONG_US / 1e3:g} ms as over {SHORT_US / 1e3:g} ms at best;"
                f" {MAX_SLOWDOWN:g} times are allowed. Another program is using the GPU: end it,"
                " and run this again."
            )

    def slowdown(self) -> float:
        """How many times as long a copy takes over LONG_US as over SHORT_US at best."""
        once_us = min(self._copy_us(2) for _ in range(SHORT_TRIES))
        few, many = (math.ceil(span_us / once_us) for span_us in (SHORT_US, LONG_US))
        at_best_us = min(self._copy_us(few) for _ in range(SHORT_TRIES))
        return self._copy_us(many) / at_best_us

    def _copy_us(self, count: int) -> float:
        """Microseconds of a copy, of so many."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(count):
            self._target.copy_(self._source)
        end.record()
        end.synchronize()
        elapsed_ms: float = start.elapsed_time(end)
        return elapsed_ms * 1e3 / count
