"""The child that compiles a candidate's kernels ahead of the workers that run them, without a GPU.

It calls the function on tensors without memory before a stand-in for the GPU (see offline/), so
that Triton's cache, which is its crew's, holds what a real call will launch. It is a process of its
own because a context of the GPU is dear, and few are to be had at a time.

Nothing that it says enters a verdict: a kernel that it missed, or compiled otherwise than a call on
the GPU would, is compiled by the worker that launches it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tritonexp.evaluation.channel import Channel
from tritonexp.evaluation.compiling import CompileClock, forget_tuning
from tritonexp.evaluation.loading import load
from tritonexp.evaluation.offline.child import arguments_of
from tritonexp.evaluation.offline.cubins import Usage
from tritonexp.evaluation.offline.messages import Call
from tritonexp.evaluation.offline.stand_in import stand_in
from tritonexp.evaluation.offline.targets import Device
from tritonexp.evaluation.serving import serve
from tritonexp.records import from_json


class Target:
    """The GPU that is compiled for; what is compiled and launched is of no interest."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def compiled(self, kernel: Any) -> None:
        """It is in the cache, and that is all."""

    def failed(self, name: str, options: dict[str, Any], error: BaseException) -> None:
        """Whoever launches it will find out."""

    def launch(self, metadata: Any, grid: tuple[int, int, int]) -> None:
        """Nothing is launched."""

    def linked(self, src: Any, metadata: Any) -> None:
        """Have the launcher built too: until Triton 3.6 it is C code of each signature's own."""
        from triton.backends.nvidia.driver import CudaLauncher

        # it is for the cache; whoever launches the kernel finds out what is wrong
        with contextlib.suppress(Exception):
            CudaLauncher(src, metadata)

    def usage_of(self, cubin: bytes) -> Usage | None:
        """Not known, since asking takes a process."""


class Compiler:
    """One implementation before a stand-in for the GPU."""

    def __init__(self) -> None:
        self._function: Callable[..., Any]
        self._stand_in: AbstractContextManager[None]

    def load(self, path: str, entry_point: str, device: str) -> dict[str, Any]:
        """Import the implementation's file, as it would be where the GPU is."""
        # never left, and so kept: what the file took of it is asked again in later calls
        self._stand_in = stand_in(Target(from_json(Device, device)))
        self._stand_in.__enter__()
        # what an autotuner finds here is no time, and must not be found by who tunes on the GPU
        forget_tuning()
        self._function = getattr(load(path), entry_point)
        return {}

    def compile(self, call: str) -> dict[str, Any]:
        """Make a call, and tell how long it took and how much of it Triton's compiler did."""
        arguments = arguments_of(from_json(Call, call))
        begin = time.perf_counter()
        with CompileClock() as clock:
            self._function(*arguments)
        return {"elapsed_s": time.perf_counter() - begin, "compile_s": clock.compile_s}


def main(channel: Channel) -> None:
    """Serve requests until the referee ends the process."""
    compiler = Compiler()
    serve(channel, {"load": compiler.load, "compile": compiler.compile})
