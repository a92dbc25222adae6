"""A stand-in for a GPU: whoever asks torch or Triton for one hears of the target.

Not covered: what of torch.cuda is not named here, which is torch's own and needs a live GPU.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

from tritonexp.evaluation.offline.cubins import Usage
from tritonexp.evaluation.offline.targets import (
    MAX_THREADS_PER_BLOCK,
    REGISTERS_PER_BLOCK,
    SHARED_BYTES_WITHOUT_OPT_IN,
    WARP_SIZE,
    Device,
)
from tritonexp.evaluation.offline.tensors import tensors_without_memory

# of a thread, where nobody looks: some kernel's, as any
UNKNOWN_REGISTERS = 32


class Listener(Protocol):
    """Names the GPU that is stood in for, and hears what is compiled and launched for it."""

    @property
    def device(self) -> Device:
        """The GPU."""

    def compiled(self, kernel: Any) -> None:
        """Hear what Triton made of a kernel."""

    def failed(self, name: str, options: dict[str, Any], error: BaseException) -> None:
        """Hear of a kernel that Triton, or what it calls, refused."""

    def launch(self, metadata: Any, grid: tuple[int, int, int]) -> None:
        """Hear of a launch; may raise Triton's OutOfResources where the real one would."""

    def usage_of(self, cubin: bytes) -> Usage | None:
        """What a kernel uses; None where that is not known."""

    def linked(self, src: Any, metadata: Any) -> None:
        """Hear of a kernel that is ready to be launched, with what its launcher is made of."""


@contextlib.contextmanager
def stand_in(listener: Listener) -> Iterator[None]:
    """Answer for the target GPU wherever host code asks torch or Triton."""
    import torch
    import triton
    import triton.compiler
    import triton.testing

    device = listener.device
    original_compile = triton.compiler.compile

    def recording_compile(src: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("options") or (args[1] if len(args) > 1 else None) or {}
        try:
            kernel = original_compile(src, *args, **kwargs)
        except Exception as error:
            listener.failed(src.name, options, error)
            raise
        listener.compiled(kernel)
        return kernel

    stream = SimpleNamespace(
        cuda_stream=0,
        device=torch.device("cuda", 0),
        synchronize=_nothing,
        wait_stream=_nothing,
        wait_event=_nothing,
    )
    # a function of its own for each name: torch keeps a table of its functions by identity
    cuda = {
        "is_available": lambda: True,
        "is_bf16_supported": _always(True),
        "device_count": _always(1),
        "current_device": _always(0),
        "set_device": _always(None),
        "synchronize": _always(None),
        "get_device_name": _always(device.name),
        "get_device_capability": _always(device.capability),
        "get_device_properties": _always(_torch_properties(device)),
        "current_stream": _always(stream),
        "default_stream": _always(stream),
        "Stream": _always(stream),
        "stream": lambda _: contextlib.nullcontext(),
        "device": lambda _: contextlib.nullcontext(),
        "device_of": lambda _: contextlib.nullcontext(),
        "is_current_stream_capturing": _always(False),
        "Event": _Event,
        "mem_get_info": _always((device.memory_bytes, device.memory_bytes)),
    }
    with contextlib.ExitStack() as stack:
        patch = mock.patch.object
        for name, value in cuda.items():
            stack.enter_context(patch(torch.cuda, name, value))
        stack.enter_context(patch(triton.compiler, "compile", recording_compile))
        stack.enter_context(patch(triton, "compile", recording_compile))
        for name in ("do_bench", "do_bench_cudagraph"):
            stack.enter_context(patch(triton.testing, name, _run_once))
        # the listener refuses a kernel that is too large itself, when it knows the grid
        if hasattr(module := sys.modules["triton.compiler.compiler"], "max_shared_mem"):
            stack.enter_context(patch(module, "max_shared_mem", _always(sys.maxsize)))
        driver = triton.runtime.driver
        # None has it look for a real driver again
        stack.callback(driver.set_active, getattr(driver, "_active", None))
        driver.set_active(_Driver(listener))
        stack.enter_context(tensors_without_memory())
        yield


class _Event:
    """Stands for torch.cuda.Event: whatever it marks is over at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.record = self.synchronize = self.wait = _nothing
        self.query = _always(True)
        self.elapsed_time = _always(0.0)


class _Driver:
    """Answers Triton for a GPU that is not there."""

    def __init__(self, listener: Listener) -> None:
        self._device = listener.device
        self._listener = listener
        self.utils = SimpleNamespace(
            get_device_properties=_always(
                {
                    "max_shared_mem": self._device.shared_bytes_per_block,
                    "max_num_regs": REGISTERS_PER_BLOCK,
                    "multiprocessor_count": self._device.sm_count,
                    "warpSize": WARP_SIZE,
                }
            ),
            load_binary=self._load_binary,
            unload_module=_nothing,
            set_printf_fifo_size=_nothing,
        )

    @staticmethod
    def is_active() -> bool:
        return True

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self._device.arch, WARP_SIZE)

    def get_device_capability(self, _device: Any = None) -> tuple[int, int]:
        return self._device.capability

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, _device: int) -> None:
        pass

    def get_current_stream(self, _device: int) -> int:
        return 0

    def get_active_torch_device(self) -> Any:
        import torch

        return torch.device("cuda", 0)

    def get_device_interface(self) -> Any:
        import torch

        return torch.cuda

    def get_benchmarker(self) -> Callable[..., Any]:
        return _run_once

    def _load_binary(
        self, name: str, cubin: bytes, _shared: int, _device: int
    ) -> tuple[str, str, int, int, int]:
        """Module, function, registers, spilled words and most threads, as Triton's own tells."""
        usage = self._listener.usage_of(cubin)
        if usage is None:
            # host code divides by it
            return name, name, UNKNOWN_REGISTERS, 0, MAX_THREADS_PER_BLOCK
        return name, name, usage.registers, usage.spill_bytes // 4, MAX_THREADS_PER_BLOCK

    def launcher_cls(self, src: Any, metadata: Any) -> Callable[..., None]:
        """Make what Triton calls with the grid and the arguments to launch a kernel."""
        self._listener.linked(src, metadata)

        def launch(grid_x: Any, grid_y: Any, grid_z: Any, *_: Any) -> None:
            self._listener.launch(metadata, (int(grid_x), int(grid_y), int(grid_z)))

        return launch


def _torch_properties(device: Device) -> SimpleNamespace:
    major, minor = device.capability
    return SimpleNamespace(
        name=device.name,
        major=major,
        minor=minor,
        total_memory=device.memory_bytes,
        multi_processor_count=device.sm_count,
        warp_size=WARP_SIZE,
        max_threads_per_block=MAX_THREADS_PER_BLOCK,
        max_threads_per_multi_processor=device.threads_per_sm,
        regs_per_multiprocessor=REGISTERS_PER_BLOCK,
        shared_memory_per_block=SHARED_BYTES_WITHOUT_OPT_IN,
        shared_memory_per_block_optin=device.shared_bytes_per_block,
        shared_memory_per_multiprocessor=device.shared_bytes_per_sm,
        L2_cache_size=device.l2_bytes,
        is_integrated=0,
        is_multi_gpu_board=0,
    )


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _nothing(*_: Any, **__: Any) -> None:
    pass


def _run_once(
    call: Callable[[], Any], *_: Any, quantiles: Sequence[float] | None = None, **__: Any
) -> Any:
    """Make the one call that compiles, and call all that do equally fast, since none is timed."""
    call()
    return [0.0] * len(quantiles) if quantiles else 0.0
