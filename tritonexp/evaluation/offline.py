"""Compile the Triton kernels of a file for a named GPU on a machine that has none.

The unmodified file is imported and its function is called on tensors that have a shape, a dtype,
the device cuda:0 and no memory. A stand-in for Triton's driver answers for the target GPU, so each
kernel is compiled with the specialisation that its real launch would have, and records the launch
instead of making it. An autotuner walks over all of its configurations: each is compiled and
recorded, and the first that fits is taken for the best, because nothing is timed here.

The file is untrusted: `compile_for` runs it in a process of its own. What that process answers is
checked for form only. A file that sets out to lie about its own registers can; nothing that is
found here enters a verdict.

Not covered: host code that reads the values of a tensor, or that needs a live GPU beyond what
`_stand_in` names; kernels in languages other than Triton; targets that are not in `DEVICES`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal
from unittest import mock

from tritonexp.errors import ConfigError
from tritonexp.evaluation import confinement, sandbox
from tritonexp.operations import Spec, TensorArgument
from tritonexp.records import CompiledKernel, Implementation, Size, Status, from_json, to_json

WARP_SIZE = 32
MAX_THREADS_PER_BLOCK = 1024
REGISTERS_PER_BLOCK = 65_536
# registers are handed out to a warp in units of 256, which is 8 for each of its threads
REGISTER_UNIT = 8
MAX_GRID = (2**31 - 1, 65_535, 65_535)
TENSOR_MEMORY_COLUMNS = 512

# an answer beyond this is not one of ours
MAX_ANSWER_BYTES = 8 << 20
MAX_REASON_CHARS = 500
KIB = 1 << 10

READS_VALUES = frozenset(
    {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"}
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Device:
    """What host code may ask of the GPU that stands for a target (vendor's figures)."""

    name: str
    capability: tuple[int, int]
    sm_count: int
    shared_bytes_per_block: int  # opt-in
    shared_bytes_per_sm: int
    threads_per_sm: int
    l2_bytes: int
    memory_bytes: int

    @property
    def arch(self) -> int:
        """The compute capability as Triton's number, as in 90."""
        return self.capability[0] * 10 + self.capability[1]


DEVICES = {
    "sm_80": Device(
        name="NVIDIA A100-SXM4-80GB",
        capability=(8, 0),
        sm_count=108,
        shared_bytes_per_block=163 * KIB,
        shared_bytes_per_sm=164 * KIB,
        threads_per_sm=2048,
        l2_bytes=40 << 20,
        memory_bytes=80 << 30,
    ),
    "sm_86": Device(
        name="NVIDIA GeForce RTX 3090",
        capability=(8, 6),
        sm_count=82,
        shared_bytes_per_block=99 * KIB,
        shared_bytes_per_sm=100 * KIB,
        threads_per_sm=1536,
        l2_bytes=6 << 20,
        memory_bytes=24 << 30,
    ),
    "sm_90": Device(
        name="NVIDIA H200",
        capability=(9, 0),
        sm_count=132,
        shared_bytes_per_block=227 * KIB,
        shared_bytes_per_sm=228 * KIB,
        threads_per_sm=2048,
        l2_bytes=50 << 20,
        memory_bytes=141 * 10**9,
    ),
    "sm_100": Device(
        name="NVIDIA B200",
        capability=(10, 0),
        sm_count=148,
        shared_bytes_per_block=227 * KIB,
        shared_bytes_per_sm=228 * KIB,
        threads_per_sm=2048,
        l2_bytes=126 << 20,
        memory_bytes=180 * 10**9,
    ),
}


@dataclass(frozen=True, kw_only=True)
class TensorShape:
    """A contiguous tensor to call with."""

    kind: Literal["tensor"] = "tensor"
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class ScalarValue:
    """A number to call with."""

    kind: Literal["scalar"] = "scalar"
    value: bool | int | float


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the function, with what its kernels are to be labelled with."""

    size: Size
    dtype: str
    arguments: tuple[TensorShape | ScalarValue, ...]


@dataclass(frozen=True, kw_only=True)
class CompileRequest:
    """What the child reads from its standard input."""

    source_path: str
    entry_point: str
    target: str
    calls: tuple[Call, ...]
    # None for no sandbox; else the modules that must not be readable in it
    hidden: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class CompileFailure:
    """Why a file, or a call of its function, could not be compiled to the end.

    A RUNTIME_ERROR or IMPORT_ERROR may be this module's limit rather than the file's fault.
    """

    status: Status
    reason: str
    log: str


@dataclass(frozen=True, kw_only=True)
class CompileAnswer:
    """What the child answers: the kernels, and the first failure."""

    kernels: tuple[CompiledKernel, ...]
    error: CompileFailure | None


class _NoValuesError(RuntimeError):
    """Host code asked for what only a GPU could have computed."""


@dataclass(frozen=True, kw_only=True)
class _Usage:
    """What cuobjdump says of a kernel."""

    registers: int
    spill_bytes: int  # stack frame and local memory per thread


@dataclass
class _Recorder:
    """Collects the kernels of one call after another."""

    target: str
    call: Call | None = None
    done: list[CompiledKernel] = field(default_factory=list)
    launched: dict[tuple[Any, ...], CompiledKernel] = field(default_factory=dict)
    # compiled in this call by hash, until a launch of it is seen
    unlaunched: dict[str, CompiledKernel] = field(default_factory=dict)
    usages: dict[str, _Usage | None] = field(default_factory=dict)
    compile_errors: list[BaseException] = field(default_factory=list)

    @property
    def device(self) -> Device:
        return DEVICES[self.target]

    def begin(self, call: Call) -> None:
        self.call = call

    def end(self) -> None:
        """Close a call: what was compiled and never launched counts too, without a grid."""
        self.done += [*self.launched.values(), *self.unlaunched.values()]
        self.launched.clear()
        self.unlaunched.clear()
        self.call = None

    def compiled(self, kernel: Any) -> None:
        digest = kernel.metadata.hash
        self.usages[digest] = _resource_usage(kernel.asm["cubin"])
        if (entry := self._entry(kernel.metadata, None)) is not None:
            self.unlaunched[digest] = entry

    def failed(self, name: str, options: dict[str, Any], error: BaseException) -> None:
        self.compile_errors.append(error)
        if self.call is None:
            return
        reason = f"does not compile: {_message(error)}"
        num_warps, num_stages = int(options.get("num_warps", 4)), options.get("num_stages")
        self.launched[name, num_warps, num_stages, reason] = CompiledKernel(
            name=name,
            target=self.target,
            dtype=self.call.dtype,
            size=self.call.size,
            grid=None,
            num_warps=num_warps,
            num_stages=num_stages,
            registers=None,
            shared_bytes=None,
            spill_bytes=None,
            fits=None,
            reason=reason,
        )

    def launch(self, metadata: Any, grid: tuple[int, int, int]) -> None:
        """Record a launch; raises Triton's OutOfResources where the real one would."""
        from triton.runtime.errors import OutOfResources

        self.unlaunched.pop(metadata.hash, None)
        if (entry := self._entry(metadata, grid)) is not None:
            self.launched[metadata.hash, grid] = entry
        # the autotuner skips a configuration on this, and host code may fall back on it
        if metadata.shared > (limit := self.device.shared_bytes_per_block):
            raise OutOfResources(metadata.shared, limit, "shared memory")
        if metadata.num_warps * WARP_SIZE > MAX_THREADS_PER_BLOCK:
            raise OutOfResources(metadata.num_warps * WARP_SIZE, MAX_THREADS_PER_BLOCK, "threads")

    def _entry(self, metadata: Any, grid: tuple[int, int, int] | None) -> CompiledKernel | None:
        # what a file launches while it is imported belongs to no size
        if self.call is None:
            return None
        usage = self.usages.get(metadata.hash)
        reason = _misfit(metadata, usage, grid, self.device)
        return CompiledKernel(
            name=metadata.name,
            target=self.target,
            dtype=self.call.dtype,
            size=self.call.size,
            grid=grid,
            num_warps=metadata.num_warps,
            num_stages=getattr(metadata, "num_stages", None),
            registers=usage.registers if usage else None,
            shared_bytes=metadata.shared,
            spill_bytes=usage.spill_bytes if usage else None,
            fits=False if reason else (True if usage else None),
            reason=reason,
        )


def compile_offline(
    source_path: Path, entry_point: str, calls: Sequence[Call], target: str = "sm_90"
) -> CompileAnswer:
    """Compile every kernel that the calls launch; what is wrong with the file is in the answer.

    Runs the file in this process: `compile_for` is the one for files that are not trusted.
    Raises ConfigError for an unknown target.
    """
    _check_target(target)
    try:
        compile(source_path.read_bytes(), str(source_path), "exec")
    except (SyntaxError, ValueError) as error:
        return _failed(Status.SYNTAX_ERROR, f"the file cannot be parsed: {_message(error)}", error)
    recorder = _Recorder(target=target)
    with _stand_in(recorder):
        try:
            module = _import(source_path)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the file may raise anything
            status = Status.IMPORT_ERROR
            if _is_compile_error(error, recorder):
                status = Status.COMPILE_ERROR
            return _failed(status, f"importing the file fails: {_message(error)}", error)
        function = getattr(module, entry_point, None)
        if not callable(function):
            return _failed(
                Status.MISSING_ENTRY_POINT,
                f"the file defines no function {entry_point!r}; it must, at its top level.",
                None,
            )
        failures = [_call(function, call, recorder) for call in calls]
    failure = next((failure for failure in failures if failure is not None), None)
    return CompileAnswer(kernels=tuple(recorder.done), error=failure)


def compile_for(
    implementation: Implementation,
    spec: Spec,
    sizes: Sequence[Size],
    dtype: str,
    target: str = "sm_90",
    timeout_s: float = 120.0,
    hidden: tuple[str, ...] | None = (),
) -> tuple[tuple[CompiledKernel, ...], CompileFailure | None]:
    """Compile an implementation's kernels at some sizes in a process of its own.

    It is confined as a worker is, and cannot read the modules that are `hidden`; None for no
    sandbox.

    The kernels are those of every call, also where one failed; the failure is the first one.
    A kernel that does not fit the target is no failure: its `fits` is False and it has a reason.
    Raises ConfigError for an unknown target.
    """
    _check_target(target)
    with tempfile.TemporaryDirectory(prefix="tritonexp-offline-") as name:
        folder = Path(name)
        source_path = folder / "candidate.py"
        source_path.write_text(implementation.source)
        request = CompileRequest(
            source_path=str(source_path),
            entry_point=implementation.entry_point,
            target=target,
            calls=tuple(call_of(spec, size, dtype) for size in sizes),
            hidden=hidden,
        )
        answer = _ask_child(to_json(request).encode(), folder, timeout_s)
    return answer.kernels, answer.error


def call_of(spec: Spec, size: Size, dtype: str) -> Call:
    """Say how a spec calls its function at a size and dtype."""
    arguments: list[TensorShape | ScalarValue] = []
    for argument in spec.arguments:
        if isinstance(argument, TensorArgument):
            arguments.append(
                TensorShape(
                    shape=spec.shape_of(argument.shape, size),
                    dtype=_dtype_of(argument, spec, dtype),
                )
            )
        else:
            arguments.append(ScalarValue(value=argument.value))
    return Call(size=size, dtype=dtype, arguments=tuple(arguments))


def _dtype_of(argument: TensorArgument, spec: Spec, dtype: str) -> str:
    if argument.fill is None:
        return dtype
    import torch

    # an argument that fills itself, such as labels, has a dtype of its own: a small one tells it
    small = spec.size(spec.interpreter[0])
    tensor = argument.fill(small, getattr(torch, dtype), torch.Generator().manual_seed(0), "cpu")
    return str(tensor.dtype).removeprefix("torch.")


# the child's side


def _call(function: Callable[..., Any], call: Call, recorder: _Recorder) -> CompileFailure | None:
    import torch
    from triton.runtime.errors import OutOfResources

    where = f"at {call.size.label} {call.dtype}"
    recorder.begin(call)
    try:
        function(
            *(
                torch.empty(item.shape, dtype=getattr(torch, item.dtype), device="cuda")
                if isinstance(item, TensorShape)
                else item.value
                for item in call.arguments
            )
        )
    except OutOfResources as error:
        # the kernel's own entry says so, with the figures
        _log.info("%s: %s", where, error)
        return None
    except _NoValuesError as error:
        return CompileFailure(
            status=Status.RUNTIME_ERROR,
            reason=f"{where} the function needs values that exist only on a GPU ({error});"
            " its kernels after that are not compiled, try it on a GPU.",
            log=_traceback(error),
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the file may raise anything
        if _is_compile_error(error, recorder):
            return CompileFailure(
                status=Status.COMPILE_ERROR,
                reason=f"{where} a kernel does not compile: {_message(error)}",
                log=_traceback(error),
            )
        return CompileFailure(
            status=Status.RUNTIME_ERROR,
            reason=f"{where} the function raises {_message(error)}",
            log=_traceback(error),
        )
    finally:
        recorder.end()
    return None


@contextlib.contextmanager
def _stand_in(recorder: _Recorder) -> Iterator[None]:
    """Answer for the target GPU wherever host code asks torch or Triton."""
    import torch
    import triton
    import triton.compiler
    import triton.testing

    device = recorder.device
    original_compile = triton.compiler.compile

    def recording_compile(src: Any, *args: Any, **kwargs: Any) -> Any:
        options = kwargs.get("options") or (args[1] if len(args) > 1 else None) or {}
        try:
            kernel = original_compile(src, *args, **kwargs)
        except Exception as error:
            recorder.failed(src.name, options, error)
            raise
        recorder.compiled(kernel)
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
    }
    with contextlib.ExitStack() as stack:
        patch = mock.patch.object
        for name, value in cuda.items():
            stack.enter_context(patch(torch.cuda, name, value))
        stack.enter_context(patch(triton.compiler, "compile", recording_compile))
        stack.enter_context(patch(triton, "compile", recording_compile))
        for name in ("do_bench", "do_bench_cudagraph"):
            stack.enter_context(patch(triton.testing, name, _run_once))
        # the recorder refuses a kernel that is too large itself, when it knows the grid
        if hasattr(module := sys.modules["triton.compiler.compiler"], "max_shared_mem"):
            stack.enter_context(patch(module, "max_shared_mem", _always(sys.maxsize)))
        driver = triton.runtime.driver
        # None has it look for a real driver again
        stack.callback(driver.set_active, getattr(driver, "_active", None))
        driver.set_active(_Driver(recorder))
        stack.enter_context(_tensors_without_memory())
        yield


def _tensors_without_memory() -> Any:
    """Have what is meant for the GPU made on torch's meta device, and say that it is on cuda:0.

    A study's tensors would take gigabytes, and few builds of torch make one for a GPU that is not
    there.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    tensor_type = torch.Tensor
    gpu, meta = torch.device("cuda", 0), torch.device("meta")

    def address(tensor: Any) -> int:
        # an allocation starts at a multiple of 512 bytes, as torch's do; a view is offset in it
        storage: int = tensor.untyped_storage()._cdata  # noqa: SLF001  # its only identity
        offset: int = tensor.storage_offset() * tensor.element_size()
        return (storage << 9) % 2**47 + offset

    told = {
        tensor_type.device.__get__: lambda _: gpu,
        tensor_type.is_cuda.__get__: lambda _: True,
        tensor_type.is_meta.__get__: lambda _: False,
        tensor_type.get_device: lambda _: 0,
        tensor_type.data_ptr: address,
        tensor_type.record_stream: _nothing,
    }

    def place(value: Any) -> Any:
        if isinstance(value, str) and value.partition(":")[0] == "cuda":
            return meta
        return meta if isinstance(value, torch.device) and value.type == "cuda" else value

    class TensorsWithoutMemory(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, _types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            of_gpu = bool(args) and isinstance(args[0], tensor_type) and args[0].is_meta
            if of_gpu and func in told:
                return told[func](args[0])
            # host code sees the device that it asks for, and compares it with a tensor's
            if func is torch.device:
                return func(*args, **kwargs)
            if func is tensor_type.cuda:
                return args[0].to(meta)
            name = getattr(func, "__name__", "")
            if of_gpu and name in READS_VALUES:
                raise _NoValuesError(f"it calls {name} on a tensor of the GPU")
            # a number for a device is a GPU's
            if isinstance(kwargs.get("device"), int):
                kwargs = kwargs | {"device": meta}
            return func(
                *(place(arg) for arg in args),
                **{key: place(value) for key, value in kwargs.items()},
            )

    return TensorsWithoutMemory()


class _Driver:
    """Answers Triton for a GPU that is not there."""

    def __init__(self, recorder: _Recorder) -> None:
        self._device = recorder.device
        self._recorder = recorder
        self.utils = SimpleNamespace(
            get_device_properties=_always(
                {
                    "max_shared_mem": self._device.shared_bytes_per_block,
                    "max_num_regs": REGISTERS_PER_BLOCK,
                    "multiprocessor_count": self._device.sm_count,
                    "warpSize": WARP_SIZE,
                }
            ),
            load_binary=_load_binary,
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

    def launcher_cls(self, _src: Any, metadata: Any) -> Callable[..., None]:
        """Make what Triton calls with the grid and the arguments to launch a kernel."""

        def launch(grid_x: Any, grid_y: Any, grid_z: Any, *_: Any) -> None:
            self._recorder.launch(metadata, (int(grid_x), int(grid_y), int(grid_z)))

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
        shared_memory_per_block=48 * KIB,
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


def _load_binary(
    name: str, cubin: bytes, _shared: int, _device: int
) -> tuple[str, str, int, int, int]:
    """Return module, function, registers, spilled words and most threads, as Triton's own does."""
    usage = _resource_usage(cubin)
    if usage is None:
        return name, name, 0, 0, MAX_THREADS_PER_BLOCK
    return name, name, usage.registers, usage.spill_bytes // 4, MAX_THREADS_PER_BLOCK


def _resource_usage(cubin: bytes) -> _Usage | None:
    """Ask the cuobjdump that ships with Triton; None where it says nothing."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        try:
            told = subprocess.run(  # noqa: S603  # Triton's own tool on its own output
                [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            _log.warning("registers are unknown: cuobjdump -res-usage failed: %s", error)
            return None
    found = re.findall(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", told)
    if not found:
        _log.warning("registers are unknown: cuobjdump -res-usage said %r", told)
        return None
    return _Usage(
        registers=max(int(registers) for registers, _, _ in found),
        spill_bytes=max(int(stack) + int(local) for _, stack, local in found),
    )


def _misfit(
    metadata: Any, usage: _Usage | None, grid: tuple[int, int, int] | None, device: Device
) -> str:
    """Why a launch does not fit a device, "" where it does."""
    threads = metadata.num_warps * WARP_SIZE
    rounded = -(-usage.registers // REGISTER_UNIT) * REGISTER_UNIT if usage else 0
    needs = [
        ("bytes of shared memory per block", metadata.shared, device.shared_bytes_per_block),
        ("threads per block", threads, MAX_THREADS_PER_BLOCK),
        ("registers per block", rounded * threads, REGISTERS_PER_BLOCK),
        # only Blackwell's kernels have tensor memory
        (
            "columns of tensor memory",
            getattr(metadata, "tmem_size", None) or 0,
            TENSOR_MEMORY_COLUMNS,
        ),
    ]
    needs += [
        (f"blocks along the grid's {axis}", blocks, limit)
        for axis, blocks, limit in zip("xyz", grid or (1, 1, 1), MAX_GRID, strict=True)
    ]
    return "; ".join(
        f"needs {need} {what}, {device.name} has {limit}"
        for what, need, limit in needs
        if need > limit
    )


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # dataclasses and Triton look a function's module up by name
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is_compile_error(error: BaseException, recorder: _Recorder) -> bool:
    return any(link is known for link in _chain(error) for known in recorder.compile_errors)


def _message(error: BaseException) -> str:
    """Put an error's kind and what it says on one line."""
    if isinstance(error, SystemExit):
        return f"SystemExit: it calls sys.exit({error.code!r})"
    # the root of a compilation error names the line; those above it repeat the source
    roots = [link for link in _chain(error) if type(link).__module__.startswith("triton")]
    chosen = roots[-1] if roots else error
    lines = [line.strip() for line in str(chosen).splitlines() if line.strip()]
    # Triton prints the kernel up to the line, a caret under the place, then what is wrong
    carets = [number for number, line in enumerate(lines) if not line.strip("^")]
    if carets and carets[-1] > 0:
        told = " ".join(lines[carets[-1] + 1 :]) or "not allowed here"
        lines = [f"{told}, in the line {lines[carets[-1] - 1]!r}"]
    text = ": ".join([type(chosen).__name__, *([" ".join(lines)] if lines else [])])
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 3]}..."


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-sandbox.LOG_BYTES :]


def _failed(status: Status, reason: str, error: BaseException | None) -> CompileAnswer:
    log = "" if error is None else _traceback(error)
    return CompileAnswer(kernels=(), error=CompileFailure(status=status, reason=reason, log=log))


# the parent's side


def _check_target(target: str) -> None:
    if target not in DEVICES:
        raise ConfigError(
            f"there is no target {target!r} to compile for; choose one of {', '.join(DEVICES)}."
        )


def _ask_child(request: bytes, folder: Path, timeout_s: float) -> CompileAnswer:
    package_root = str(Path(__file__).resolve().parents[2])
    inherited = sandbox.environment(folder, interpret=False)
    environment = inherited | {
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "PYTHONPATH": os.pathsep.join(
            part for part in (package_root, inherited.get("PYTHONPATH")) if part
        ),
        # the answer must not depend on what this machine has
        "CUDA_VISIBLE_DEVICES": "",
    }
    paths = {name: folder / f"{name}.txt" for name in ("stdin", "stdout", "stderr")}
    paths["stdin"].write_bytes(request)
    # files, not pipes: a process that outlives its group cannot keep the reader waiting
    with (
        paths["stdin"].open("rb") as stdin,
        paths["stdout"].open("wb") as stdout,
        paths["stderr"].open("wb") as stderr,
    ):
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "tritonexp.evaluation.offline"],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    in_time = _watch(child, timeout_s)
    log = _tail(paths["stderr"])
    if not in_time:
        return _ended(Status.TIMEOUT, f"compiling took longer than {timeout_s:g} s", log)
    text = _head(paths["stdout"])
    try:
        answer = from_json(CompileAnswer, text)
    except ValueError:
        return _ended(
            Status.CRASHED,
            f"the process ended with status {child.returncode} and without an answer",
            log,
        )
    if answer.error is None:
        return answer
    # MLIR and ptxas write what they have against a kernel to standard error only
    error = replace(answer.error, log=f"{answer.error.log}\n{log}".strip())
    return replace(answer, error=error)


def _watch(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for a process, then kill what is left of its group; whether it ended in time."""
    descriptor = os.pidfd_open(child.pid)
    try:
        # set from here, because a function between fork and exec is not safe beside threads
        limit = sandbox.MAX_FILE_BYTES
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, limit))
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        in_time = bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)
        # before it is reaped, so that the group's number cannot be another's
        sandbox.kill_group(child.pid)
        child.wait()
    return in_time


def _ended(status: Status, reason: str, log: str) -> CompileAnswer:
    return CompileAnswer(kernels=(), error=CompileFailure(status=status, reason=reason, log=log))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_ANSWER_BYTES)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - sandbox.LOG_BYTES))
        return file.read().decode(errors="replace").strip()


def main() -> None:
    """Read a CompileRequest from standard input, write a CompileAnswer to standard output."""
    # what the file prints must not mix with the answer
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sandbox.die_with_parent()
    request = from_json(CompileRequest, sys.stdin.buffer.read())
    if request.hidden is not None:
        walls = confinement.Confinement(Path(__file__).resolve().parents[1], request.hidden)
        folder = Path(request.source_path).parent
        walls.confine(folder)
        walls.seal(folder)
    answer = compile_offline(
        Path(request.source_path), request.entry_point, request.calls, request.target
    )
    with os.fdopen(answers, "w") as stream:
        stream.write(to_json(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    # what the file registered with atexit, and its threads, have no say any more
    os._exit(0)


if __name__ == "__main__":
    main()
