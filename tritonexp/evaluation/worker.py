"""The child that holds exactly one implementation: it runs what it is told and judges nothing.

Inputs lie in the arena that the referee owns; results are copied back into it. Every answer is
plain data about what was done. What an implementation raises is reported with its type's names,
and the referee decides what it means.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
import triton
import triton.language

from tritonexp.evaluation.channel import Channel
from tritonexp.evaluation.memory import attach, view

MESSAGE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 12_000


class Worker:
    """One implementation and the arena that it works on."""

    def __init__(self, seal: Callable[[], None]) -> None:
        self._seal = seal
        self._arena: torch.Tensor
        self._function: Callable[..., Any]
        self._gpu = False
        self._results: tuple[Any, ...] = ()
        self._sets: list[list[Any]] = []
        self._set_results: list[tuple[Any, ...]] = []
        self._graph: Any = None
        self._flush: Any = None

    def attach(self, handle: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Map the arena; what only the start needed is then closed for good."""
        self._arena = attach(handle, descriptors[0] if descriptors else None)
        self._gpu = self._arena.is_cuda
        self._seal()
        return {}

    def load(self, path: str, entry_point: str) -> dict[str, Any]:
        """Import the implementation's file, which needs a real path for triton to read it."""
        spec = importlib.util.spec_from_file_location("implementation", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module: ModuleType = importlib.util.module_from_spec(spec)
        sys.modules["implementation"] = module
        spec.loader.exec_module(module)
        self._function = getattr(module, entry_point)
        return {}

    def compile(self) -> dict[str, Any]:
        """Wrap the implementation in torch.compile, for the contender of that name."""
        self._function = torch.compile(self._function, dynamic=False)
        return {}

    def run(
        self,
        arguments: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        poison: int,
        watch: bool,
    ) -> dict[str, Any]:
        """Call once and copy the results to the given slots of the arena.

        `poison` is a byte that fills the memory which a result is likely to be given next.
        """
        values = self._arguments(arguments)
        self._poison_free_memory(outputs, poison)
        launched: Counter[str] = Counter()
        with _watched(launched, gpu=self._gpu) if watch else contextlib.nullcontext():
            result = self._call(values)
        results = _flat(result)
        described = [self._describe(result, values) for result in results]
        copied = self._export(results, outputs)
        # kept until the next call, so that a later result cannot land on this one's memory
        self._results = results
        return {
            "type": _type_name(result),
            "results": described,
            "copied": copied,
            "launched": dict(launched),
        }

    def capture(self, sets: list[list[dict[str, Any]]], passes: int) -> dict[str, Any]:
        """Capture one call for each set of arguments, `passes` times over, in one CUDA graph."""
        self.release()
        self._sets = [self._arguments(arguments) for arguments in sets]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for values in self._sets[:3]:
                self._function(*values)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(passes):
                # an earlier pass's results go back to the graph's pool
                self._set_results = []
                for values in self._sets:
                    self._set_results.append(_flat(self._function(*values)))
        self._graph = graph
        graph.replay()
        torch.cuda.synchronize()
        return {}

    def prepare_events(self, sets: list[list[dict[str, Any]]], flush_bytes: int) -> dict[str, Any]:
        """Get ready to time eager calls with events, where capturing failed."""
        self.release()
        self._sets = [self._arguments(arguments) for arguments in sets]
        self._flush = torch.empty(flush_bytes, dtype=torch.uint8, device=self._arena.device)
        for values in self._sets[:3]:
            self._set_results = [_flat(self._function(*values))]
        torch.cuda.synchronize()
        return {}

    def replay(self, count: int, poison: int | None) -> dict[str, Any]:
        """Replay the graph; microseconds of all `count` replays by CUDA events."""
        if poison is not None:
            for results in self._set_results:
                for result in results:
                    _fill_bytes(result, poison)
        start, end = _event(), _event()
        # the first replay absorbs the switch from another process's context
        self._graph.replay()
        start.record()
        for _ in range(count):
            self._graph.replay()
        end.record()
        end.synchronize()
        return {"elapsed_us": start.elapsed_time(end) * 1e3}

    def time_events(self, count: int) -> dict[str, Any]:
        """Microseconds of `count` eager calls, each on a flushed cache, by CUDA events."""
        pairs = []
        self._set_results = [()] * len(self._sets)
        for index in range(count):
            start, end = _event(), _event()
            self._flush.fill_(index & 0xFF)
            start.record()
            results = self._function(*self._sets[index % len(self._sets)])
            end.record()
            self._set_results[index % len(self._sets)] = _flat(results)
            pairs.append((start, end))
        torch.cuda.synchronize()
        return {"elapsed_us": sum(start.elapsed_time(end) for start, end in pairs) * 1e3}

    def time_host(self, count: int) -> dict[str, Any]:
        """Microseconds of each of `count` eager calls by the host's clock, end to end."""
        times = []
        for index in range(count):
            values = self._sets[index % len(self._sets)]
            torch.cuda.synchronize()
            begin = time.perf_counter()
            self._function(*values)
            torch.cuda.synchronize()
            times.append((time.perf_counter() - begin) * 1e6)
        return {"times_us": times}

    def time_burst(self, count: int) -> dict[str, Any]:
        """Microseconds of `count` asynchronous eager calls on one set by the host's clock."""
        values = self._sets[0]
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(count):
            results = self._function(*values)
        torch.cuda.synchronize()
        elapsed_us = (time.perf_counter() - begin) * 1e6
        self._set_results = [_flat(results)]
        return {"elapsed_us": elapsed_us}

    def export(self, index: int, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Copy the results of one timed set to slots of the arena."""
        return {"copied": self._export(self._set_results[index], outputs)}

    def inspect(self, arguments: list[dict[str, Any]]) -> dict[str, Any]:
        """The GPU work of one call as a CUDA graph of it holds it: kernels, copies and fills.

        Of a kernel also its launch and what the driver knows of its code.
        """
        from cuda.bindings import driver

        values = self._arguments(arguments)
        self._call(values)
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.graph(graph):
            self._results = _flat(self._function(*values))

        def done(status: Any, *results: Any) -> Any:
            if status != driver.CUresult.CUDA_SUCCESS:
                raise RuntimeError(f"the driver could not describe the graph: {status}")
            return results[0] if len(results) == 1 else results

        def attribute(function: Any, name: str) -> int:
            wanted = getattr(driver.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
            return int(done(*driver.cuFuncGetAttribute(wanted, function)))

        handle = driver.CUgraph(graph.raw_cuda_graph())
        _, count = done(*driver.cuGraphGetNodes(handle))
        nodes, _ = done(*driver.cuGraphGetNodes(handle, count))
        work = []
        for node in nodes[:count]:
            kind = done(*driver.cuGraphNodeGetType(node))
            if kind != driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL:
                work.append({"name": kind.name, "is_kernel": False})
                continue
            launch = done(*driver.cuGraphKernelNodeGetParams(node))
            work.append(
                {
                    "name": done(*driver.cuFuncGetName(launch.func)).decode(),
                    "is_kernel": True,
                    "grid": [launch.gridDimX, launch.gridDimY, launch.gridDimZ],
                    "threads": launch.blockDimX * launch.blockDimY * launch.blockDimZ,
                    "registers": attribute(launch.func, "NUM_REGS"),
                    "shared_bytes": launch.sharedMemBytes
                    + attribute(launch.func, "SHARED_SIZE_BYTES"),
                    "local_bytes": attribute(launch.func, "LOCAL_SIZE_BYTES"),
                }
            )
        return {"work": work}

    def profile(self, arguments: list[dict[str, Any]]) -> dict[str, Any]:
        """Names, launches and microseconds of the GPU kernels of one call, by torch's profiler."""
        from torch.autograd import DeviceType
        from torch.profiler import ProfilerActivity, profile

        values = self._arguments(arguments)
        self._call(values)
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            self._call(values)
        kernels: dict[str, list[float]] = {}
        for event in profiler.events():
            if event.device_type == DeviceType.CUDA:
                known = kernels.setdefault(event.name, [0, 0.0])
                known[0] += 1
                known[1] += float(event.self_device_time_total)
        return {"kernels": [[name, *figures] for name, figures in kernels.items()]}

    def release(self) -> dict[str, Any]:
        """Let go of the graph, the sets and their results."""
        self._graph = None
        self._flush = None
        self._sets, self._set_results, self._results = [], [], ()
        if self._gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        return {}

    def _call(self, values: list[Any]) -> Any:
        result = self._function(*values)
        if self._gpu:
            torch.cuda.synchronize()
        return result

    def _arguments(self, described: list[dict[str, Any]]) -> list[Any]:
        return [
            view(self._arena, item["offset"], item["shape"], item["dtype"])
            if "offset" in item
            else item["value"]
            for item in described
        ]

    def _poison_free_memory(self, outputs: list[dict[str, Any]], poison: int) -> None:
        self._results = ()
        blocks = [
            torch.empty_like(view(self._arena, slot["offset"], slot["shape"], slot["dtype"]))
            for slot in outputs
        ]
        for block in blocks:
            _fill_bytes(block, poison)

    def _describe(self, result: Any, values: list[Any]) -> dict[str, Any]:
        if not isinstance(result, torch.Tensor):
            return {"type": _type_name(result)}
        storages = [
            value.untyped_storage().data_ptr()
            for value in values
            if isinstance(value, torch.Tensor)
        ]
        start = result.data_ptr()
        arena = self._arena.data_ptr()
        return {
            "type": _type_name(result),
            "shape": list(result.shape),
            "dtype": str(result.dtype).removeprefix("torch."),
            "device": result.device.type,
            "strides": list(result.stride()),
            "aliases_input": (
                result.untyped_storage().data_ptr() in storages
                or arena <= start < arena + self._arena.numel()
            ),
        }

    def _export(self, results: tuple[Any, ...], outputs: list[dict[str, Any]]) -> bool:
        if len(results) != len(outputs):
            return False
        for result, slot in zip(results, outputs, strict=True):
            target = view(self._arena, slot["offset"], slot["shape"], slot["dtype"])
            if not (
                isinstance(result, torch.Tensor)
                and result.shape == target.shape
                and result.dtype == target.dtype
                and result.device == target.device
            ):
                return False
            target.copy_(result)
        if self._gpu:
            torch.cuda.synchronize()
        return True


COMMANDS = frozenset(name for name in vars(Worker) if not name.startswith("_"))


def create_context() -> None:
    """Create the CUDA context; where it fails, attaching the arena fails again and tells why."""
    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device="cuda")


def main(channel: Channel, seal: Callable[[], None]) -> None:
    """Serve requests until the referee ends the process."""
    worker = Worker(seal)
    while True:
        request, descriptors = channel.serve()
        command = request.pop("command")
        if command not in COMMANDS:
            channel.reply(error={"types": ["KeyError"], "message": command, "traceback": ""})
            continue
        if command == "attach":
            request["descriptors"] = descriptors
        try:
            answer = getattr(worker, command)(**request)
        except BaseException as error:  # noqa: BLE001 - sys.exit in an implementation is an answer too
            answer = {"error": _describe_error(error)}
        channel.reply(**answer)


@contextlib.contextmanager
def _watched(launched: Counter[str], *, gpu: bool) -> Iterator[None]:
    """Count the Triton kernels that are launched, by name."""
    if gpu:

        def enter(metadata: Any) -> None:
            launched[metadata.get()["name"]] += 1

        hooks = triton.knobs.runtime.launch_enter_hook
        hooks.add(enter)
        try:
            yield
        finally:
            hooks.remove(enter)
        return
    from triton.runtime.interpreter import GridExecutor

    call = GridExecutor.__call__

    def counted(executor: Any, *args: Any, **kwargs: Any) -> Any:
        launched[executor.fn.__name__] += 1
        return call(executor, *args, **kwargs)

    GridExecutor.__call__ = counted
    try:
        yield
    finally:
        GridExecutor.__call__ = call


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)


def _flat(results: Any) -> tuple[Any, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _fill_bytes(tensor: torch.Tensor, byte: int) -> None:
    if tensor.is_contiguous():
        tensor.view(-1).view(torch.uint8).fill_(byte)


def _describe_error(error: BaseException) -> dict[str, Any]:
    return {
        "types": [kind.__name__ for kind in type(error).__mro__],
        "message": str(error)[:MESSAGE_CHARACTERS],
        "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
    }
