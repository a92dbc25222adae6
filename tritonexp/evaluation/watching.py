"""What a worker watches of the implementation that it runs: launches, and what was replaced.

A kernel is an implementation's own when its function is defined in the implementation's file: a
name alone can be anybody's. Runs in the worker, beside the implementation, so it is bounded by what
the referee sees from outside.
"""

from __future__ import annotations

import builtins
import math
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import torch
import triton
import triton.testing
from triton.compiler.compiler import CompiledKernel
from triton.runtime.autotuner import Autotuner
from triton.runtime.interpreter import GridExecutor

_getattr = getattr

# what an implementation has no honest reason to replace: (owner, attributes)
_GUARDED: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (time, ("perf_counter", "perf_counter_ns", "monotonic", "time")),
    (torch, ("empty", "empty_like", "equal", "allclose")),
    (torch.Tensor, ("copy_", "fill_", "clone", "view", "data_ptr")),
    (torch.cuda, ("synchronize", "Event", "CUDAGraph", "graph", "Stream", "stream")),
    (torch.cuda.Event, ("record", "synchronize", "elapsed_time", "query", "wait")),
    (torch.cuda.Stream, ("synchronize", "wait_stream")),
    (torch.cuda.CUDAGraph, ("replay", "capture_begin", "capture_end", "raw_cuda_graph")),
    (torch.cuda.graph, ("__init__", "__enter__", "__exit__")),
    (triton.testing, ("do_bench", "do_bench_cudagraph", "assert_close")),
    (CompiledKernel, ("launch_metadata", "run", "_init_handles")),
    (GridExecutor, ("__call__",)),
    # whoever calls one of these, a name of its own module's apart, calls what stands here
    (builtins, tuple(name for name, value in vars(builtins).items() if callable(value))),
)


def _code_of(value: Any) -> Any:
    """What a function or property of Python's does, which can be replaced within it."""
    return _getattr(_getattr(value, "fget", value), "__code__", None)


class Guard:
    """Knows what was there before an implementation was imported."""

    def __init__(self, *more: tuple[Any, tuple[str, ...]]) -> None:
        """`more` adds owners and the names of their attributes."""
        self._known = [
            (owner, name, value, _code_of(value))
            for owner, names in (*_GUARDED, *more)
            for name in names
            if (value := getattr(owner, name, None)) is not None
        ]

    def replaced(self) -> list[str]:
        """The names of what is no longer what it was."""
        return [
            f"{_getattr(owner, '__module__', None) or ''}.{owner.__name__}.{name}".lstrip(".")
            for owner, name, known, code in self._known
            # functions of a class written in C are made anew at each look
            if ((found := _getattr(owner, name, None)) is not known and found != known)
            or _code_of(found) is not code
        ]


class Launches:
    """Counts, by name, the launches of the Triton kernels of one file while it is open.

    With `muted` these launches do nothing. `functions` are the driver's handles of what was
    launched, by which it is known again in a graph: a name can be anybody's.
    """

    def __init__(self, path: str, *, gpu: bool, muted: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.functions: set[int] = set()
        self._path = path
        self._gpu = gpu
        self._muted = muted
        self._pending: list[tuple[Any, CompiledKernel]] = []
        self._restored: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Self:
        if self._gpu:
            self._replace(CompiledKernel, "launch_metadata", self._noted)
            if self._muted:
                # and no hook: nobody who looks for one may see that they are watched
                self._replace(CompiledKernel, "run", self._silenced)
            else:
                triton.knobs.runtime.launch_enter_hook.add(self._launched)
        else:
            self._replace(GridExecutor, "__call__", self._interpreted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for owner, name, original in reversed(self._restored):
            setattr(owner, name, original)
        if self._gpu and not self._muted:
            triton.knobs.runtime.launch_enter_hook.remove(self._launched)

    def _replace(self, owner: type, name: str, make: Any) -> None:
        original = owner.__dict__[name]
        self._restored.append((owner, name, original))
        setattr(owner, name, make(original))

    def _owns(self, function: Any) -> bool:
        code = getattr(getattr(function, "fn", function), "__code__", None)
        return getattr(code, "co_filename", None) == self._path

    def _noted(self, original: Any) -> Any:
        def launch_metadata(kernel: CompiledKernel, grid: Any, stream: Any, *args: Any) -> Any:
            metadata = original(kernel, grid, stream, *args)
            # a launch of no blocks is none, though Triton calls the hook
            if self._owns(getattr(kernel.src, "fn", None)) and math.prod(grid) > 0:
                if self._muted:
                    # it would have been launched
                    self.counts[kernel.name] += 1
                # by identity: the hook is given the same object
                self._pending.append((metadata, kernel))
            return metadata

        return launch_metadata

    def _launched(self, metadata: Any) -> None:
        kernel = next((kernel for item, kernel in self._pending if item is metadata), None)
        if kernel is not None:
            # not the metadata's name, which a kernel's own launch_metadata may replace
            self.counts[kernel.name] += 1
            if kernel.function is not None:
                self.functions.add(int(kernel.function))
            self._pending.clear()

    def _silenced(self, original: Any) -> Any:
        def run(kernel: CompiledKernel) -> Any:
            launcher = original.__get__(kernel)
            owns = self._owns(getattr(kernel.src, "fn", None))
            return (lambda *_, **__: None) if owns else launcher

        return property(run)

    def _interpreted(self, original: Any) -> Any:
        def call(executor: GridExecutor, *args: Any, **kwargs: Any) -> Any:
            owns = self._owns(executor.fn)
            if owns and self._muted:
                self.counts[executor.fn.__name__] += 1
                return None
            result = original(executor, *args, **kwargs)
            # after the call: one that failed has launched nothing
            if owns:
                self.counts[executor.fn.__name__] += 1
            return result

        return call


def make_autotuning_interpretable() -> None:
    """Let an autotuner choose its first configuration that runs, where there is no GPU to ask."""

    def do_bench(_: Autotuner) -> Any:
        def bench(call: Any, quantiles: Any = None) -> Any:
            call()
            return [0.0] * (len(quantiles) if quantiles else 1)

        return bench

    Autotuner.do_bench = property(do_bench)


def persisting_l2_bytes() -> int:
    """How much of the L2 cache is set aside for data that this process wants kept there."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return 0
    status, found = driver.cuCtxGetLimit(driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE)
    return int(found) if status == driver.CUresult.CUDA_SUCCESS else 0
