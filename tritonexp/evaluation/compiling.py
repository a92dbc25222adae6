"""How long Triton's compiler and its autotuners take, as they say themselves.

Runs in the worker, beside the implementation, so what it says is the worker's own account.
Does not cover other compilers, such as torch's own or one that host code starts, nor the loading of
what was compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import triton
from triton.runtime.autotuner import Autotuner

US_PER_S = 1e6


def forget_tuning() -> None:
    """Have no autotuner keep its choice for other processes, whatever it is asked for.

    A crew shares a cache, and the choice of one that tuned in a crowd, or without a GPU, is not to
    be found by who is timed.
    """
    Autotuner.check_disk_cache = _tune_and_forget


def _tune_and_forget(_tuner: Any, _key: Any, _configs: Any, tune: Callable[[], None]) -> bool:
    tune()
    return False


class CompileClock:
    """Adds up what is compiled and tuned while it is open."""

    def __init__(self) -> None:
        # without what was found in a cache
        self.compile_s = 0.0
        # without what is compiled for it
        self.autotune_s = 0.0
        self._listener: Any = None
        self._run: Any = None

    def __enter__(self) -> Self:
        self._listener = triton.knobs.compilation.listener
        triton.knobs.compilation.listener = self._compiled
        self._run = Autotuner.run
        Autotuner.run = self._timed(self._run)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        triton.knobs.compilation.listener = self._listener
        Autotuner.run = self._run

    def _compiled(self, *, times: Any, cache_hit: bool, **more: Any) -> None:
        if not cache_hit:
            # by the wall's clock, which somebody may set back
            self.compile_s += max(0, times.total) / US_PER_S
        if self._listener is not None:
            self._listener(times=times, cache_hit=cache_hit, **more)

    def _timed(self, original: Any) -> Any:
        def run(tuner: Any, *args: Any, **kwargs: Any) -> Any:
            compiled_s = self.compile_s
            # an autotuner keeps the time of its last search, and leaves it where there is none
            last_s = vars(tuner).pop("bench_time", None)
            try:
                return original(tuner, *args, **kwargs)
            finally:
                took_s = vars(tuner).get("bench_time")
                if took_s is not None:
                    self.autotune_s += max(0.0, took_s - (self.compile_s - compiled_s))
                elif last_s is not None:
                    tuner.bench_time = last_s

        return run
