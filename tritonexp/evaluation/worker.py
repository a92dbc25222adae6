"""The child that holds exactly one implementation: it runs what it is told and judges nothing.

Inputs lie in the arena that the referee owns; results are copied back into it. Every answer is
plain data about what was done. What an implementation raises is reported with its type's names,
and the referee decides what it means. What this module calls of torch is bound before an
implementation is imported, so that it stays what it was.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch

from tritonexp.evaluation import channel, graphs, hooks, memory, serving, watching
from tritonexp.evaluation.channel import Channel
from tritonexp.evaluation.compiling import CompileClock
from tritonexp.evaluation.counting import Requests
from tritonexp.evaluation.hooks import Hooks
from tritonexp.evaluation.loading import load
from tritonexp.evaluation.memory import attach, view
from tritonexp.evaluation.serving import serve
from tritonexp.evaluation.watching import Guard, Launches

_BASE: Any = torch._C.TensorBase  # noqa: SLF001 - torch.Tensor's own methods can be replaced
_copy, _fill, _view, _data_ptr = _BASE.copy_, _BASE.fill_, _BASE.view, _BASE.data_ptr
_empty_like = torch.empty_like
_perf_counter = time.perf_counter
_urandom = os.urandom
_synchronize = torch.cuda.synchronize
_Event, _CUDAGraph, _graph = torch.cuda.Event, torch.cuda.CUDAGraph, torch.cuda.graph
_record, _elapsed_time = _Event.record, _Event.elapsed_time
_wait_for_event, _replay = _Event.synchronize, _CUDAGraph.replay
# modules of ours that answers come from
_OURS = (channel, graphs, hooks, memory, serving, watching)


class Worker:
    """One implementation and the arena that it works on."""

    def __init__(self, seal: Callable[[], None], hooks: Hooks) -> None:
        self._seal = seal
        self._hooks = hooks
        classes = (Worker, Channel, Hooks, Guard, Launches)
        modules = (sys.modules[__name__], *_OURS)
        self._guard = Guard(*((owner, tuple(vars(owner))) for owner in (*classes, *modules)))
        self._path = ""
        self._arena: torch.Tensor
        self._function: Callable[..., Any]
        self._gpu = False
        self._compiles_here = False
        self._persisting_bytes = 0
        self._results: tuple[Any, ...] = ()
        self._sets: list[list[Any]] = []
        self._set_results: list[tuple[Any, ...]] = []
        self._graph: Any = None
        self._flush: Any = None

    def ready(self) -> dict[str, Any]:
        """Answer, and so tell that the process and its context are there."""
        return {}

    def attach(self, handle: dict[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
        """Map the arena; what only the start needed is then closed for good."""
        self._arena = attach(handle, descriptors[0] if descriptors else None)
        self._gpu = self._compiles_here = self._arena.is_cuda
        if self._gpu:
            self._persisting_bytes = watching.persisting_l2_bytes()
        self._seal()
        return {}

    def load(self, path: str, entry_point: str) -> dict[str, Any]:
        """Import the implementation's file."""
        self._path = path
        if not self._gpu:
            watching.make_autotuning_interpretable()
        function = getattr(load(path), entry_point, None)
        if not callable(function):
            raise MissingEntryPointError(f"{entry_point} is {_short(function)}, and not callable")
        self._function = function
        return {}

    def compile(self) -> dict[str, Any]:
        """Wrap the implementation in torch.compile, for the contender of that name."""
        self._function = torch.compile(self._function, dynamic=False)
        # processes of its own compile for it
        self._compiles_here = False
        return {}

    def run(
        self,
        arguments: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        poison: int,
        muted: bool = False,
    ) -> dict[str, Any]:
        """Call once and copy the results to the given slots of the arena.

        `poison` is a byte that fills the memory which a result is likely to be given next. With
        `muted` the implementation's own kernels do nothing.
        """
        values = self._arguments(arguments)
        self._poison_free_memory(outputs, poison)
        clock = CompileClock()
        with Launches(self._path, gpu=self._gpu, muted=muted) as launches, clock:
            begin = _perf_counter()
            result = self._call(values)
            call_s = _perf_counter() - begin
        results = _flat(result)
        # those of the call before are still held, so a new tensor cannot lie where they do
        described = [self._describe(result, values) for result in results]
        copied = self._export(results, outputs)
        self._results = results
        return {
            "type": _type_name(result),
            "results": described,
            "copied": copied,
            "launched": dict(launches.counts),
            "replaced": self._replaced(),
            "call_s": call_s,
            # the interpreter compiles nothing
            "compile_s": clock.compile_s if self._compiles_here else None,
            "autotune_s": clock.autotune_s if self._compiles_here else None,
        }

    def count(self, arguments: list[dict[str, Any]]) -> dict[str, Any]:
        """Count what a call asks of memory in the interpreter, after one in which it is tuned."""
        values = self._arguments(arguments)
        self._function(*values)
        with Requests(values) as requests:
            self._function(*values)
        return {**requests.counts, "argument_bytes": requests.argument_bytes}

    def capture(self, sets: list[list[dict[str, Any]]], passes: int) -> dict[str, Any]:
        """Capture one call for each set of arguments, `passes` times over, in one CUDA graph.

        Tells what the graph holds, which launches of its own kernels the calls made, and whether
        each call has results of its own.
        """
        self.release()
        self._sets = [self._arguments(arguments) for arguments in sets]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for values in self._sets[:3]:
                self._function(*values)
        _synchronize()
        graph = _CUDAGraph(keep_graph=True)
        with Launches(self._path, gpu=True) as launches, _graph(graph, stream=stream):
            made = [
                [_flat(self._function(*values)) for values in self._sets] for _ in range(passes)
            ]
        self._graph = graph
        _replay(graph)
        _synchronize()
        places = [_data_ptr(item) for results in made for each in results for item in each]
        # of each set the results of one pass stay, and which is drawn when all have been made: a
        # file that works in some passes alone does not know in which ones
        self._set_results = [made[_below(passes)][place] for place in range(len(sets))]
        return {
            "work": _work_of(graph, launches),
            "launched": dict(launches.counts),
            "distinct": len(set(places)) == len(places),
        }

    def prepare_events(self, sets: list[list[dict[str, Any]]], flush_bytes: int) -> dict[str, Any]:
        """Get ready to time eager calls with events, where capturing failed."""
        self.release()
        self._sets = [self._arguments(arguments) for arguments in sets]
        self._flush = torch.empty(flush_bytes, dtype=torch.uint8, device=self._arena.device)
        for values in self._sets[:3]:
            self._set_results = [_flat(self._function(*values))]
        _synchronize()
        return {}

    def replay(
        self, count: int, poison: int | None = None, late: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Replay the graph; microseconds of all `count` replays by CUDA events.

        One more leads, which is not timed: it absorbs the switch from another process's context.
        All results are filled with the byte `poison` after it. `late` changes one set right before
        the last replay, so that a kernel cannot tell by a pause that it is looked at: its arguments
        become those of `values`, its results are filled with the byte `poison` of its own.
        """
        start, end = _event(), _event()
        _replay(self._graph)
        if poison is not None:
            for results in self._set_results:
                for result in results:
                    _fill_bytes(result, poison)
        _record(start)
        for _ in range(count - 1):
            _replay(self._graph)
        if late is not None:
            self._change(**late)
        _replay(self._graph)
        _record(end)
        _wait_for_event(end)
        # whatever else was begun ends within this turn, as the referee's clock shows
        _synchronize()
        return {"elapsed_us": _elapsed_time(start, end) * 1e3}

    def _change(self, index: int, values: list[dict[str, Any]] | None, poison: int | None) -> None:
        if values is not None:
            for target, source in zip(self._sets[index], self._arguments(values), strict=True):
                if isinstance(target, torch.Tensor):
                    _copy(target, source)
        if poison is not None:
            for result in self._set_results[index]:
                _fill_bytes(result, poison)

    def time_events(self, count: int) -> dict[str, Any]:
        """Microseconds of `count` eager calls, each on a flushed cache, by CUDA events.

        And how long the GPU still worked, all together, when the calls' events said that they were
        over.
        """
        elapsed_us = late_us = 0.0
        self._set_results = [()] * len(self._sets)
        for index in range(count):
            start, end = _event(), _event()
            _fill(self._flush, index & 0xFF)
            _record(start)
            results = self._function(*self._sets[index % len(self._sets)])
            _record(end)
            self._set_results[index % len(self._sets)] = _flat(results)
            _wait_for_event(end)
            begin = _perf_counter()
            _synchronize()
            late_us += (_perf_counter() - begin) * 1e6
            elapsed_us += _elapsed_time(start, end) * 1e3
        return {"elapsed_us": elapsed_us, "late_us": late_us}

    def prepare_host(self) -> dict[str, Any]:
        """Have a result of each set, so that eager calls find memory that is already there."""
        self._set_results = [_flat(self._function(*values)) for values in self._sets]
        _synchronize()
        return {}

    def time_host(self, count: int) -> dict[str, Any]:
        """Microseconds of each of `count` eager calls by the host's clock, end to end."""
        times = []
        for index in range(count):
            place = index % len(self._sets)
            values = self._sets[place]
            _synchronize()
            begin = _perf_counter()
            results = self._function(*values)
            _synchronize()
            times.append((_perf_counter() - begin) * 1e6)
            self._set_results[place] = _flat(results)
        return {"times_us": times}

    def time_burst(self, count: int) -> dict[str, Any]:
        """Microseconds of `count` asynchronous eager calls on one set by the host's clock."""
        values = self._sets[0]
        _synchronize()
        begin = _perf_counter()
        for _ in range(count):
            results = self._function(*values)
        _synchronize()
        elapsed_us = (_perf_counter() - begin) * 1e6
        self._set_results = [_flat(results)]
        return {"elapsed_us": elapsed_us}

    def export(self, index: int, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Copy the results of one timed set to slots of the arena."""
        return {"copied": self._export(self._set_results[index], outputs)}

    def can_profile(self) -> dict[str, Any]:
        """Tell whether the profiler saw what this process did on the GPU before it was sealed."""
        return {"can_profile": _profiler is not None and _profiler[2]}

    def profile(self, arguments: list[dict[str, Any]]) -> dict[str, Any]:
        """Names, launches and microseconds of the GPU kernels of one call, by torch's profiler.

        Of a replay of its graph where it can be captured, with what that graph holds. Raises
        RuntimeError in a worker whose profiler was not started before it was sealed.
        """
        if _profiler is None:
            raise RuntimeError("this worker's profiler was not started")
        profile, on_gpu, _ = _profiler
        self.release()
        values = self._arguments(arguments)
        self._call(values)
        graph = _CUDAGraph(keep_graph=True)
        work: list[dict[str, Any]] = []
        try:
            with Launches(self._path, gpu=True) as launches, _graph(graph):
                self._results = _flat(self._function(*values))
            work = _work_of(graph, launches)
            _replay(graph)
            _synchronize()
            with profile() as profiler:
                _replay(graph)
                _synchronize()
            seen = any(event.device_type == on_gpu for event in profiler.events())
        except RuntimeError:
            seen = False
        if not seen:
            # it cannot be captured, or the profiler does not see into graphs
            _synchronize()
            with (
                Launches(self._path, gpu=True) as launches,
                profile() as profiler,
            ):
                self._call(values)
        kernels: dict[str, list[float]] = {}
        for event in profiler.events():
            if event.device_type == on_gpu:
                known = kernels.setdefault(event.name, [0, 0.0])
                known[0] += 1
                known[1] += float(event.self_device_time_total)
        return {
            "kernels": [[name, *figures] for name, figures in kernels.items()],
            "launched": dict(launches.counts),
            "work": work,
            "replaced": self._replaced(),
        }

    def release(self) -> dict[str, Any]:
        """Let go of the graph, the sets and their results; tells what else was tampered with."""
        # before anything that may have been replaced is called
        replaced = self._replaced()
        self._graph = None
        self._flush = None
        self._sets, self._set_results, self._results = [], [], ()
        persisting_bytes = 0
        if self._gpu:
            _synchronize()
            torch.cuda.empty_cache()
            persisting_bytes = max(0, watching.persisting_l2_bytes() - self._persisting_bytes)
        return {"replaced": replaced, "persisting_l2_bytes": persisting_bytes}

    def _replaced(self) -> list[str]:
        return [*self._guard.replaced(), *self._hooks.found]

    def _call(self, values: list[Any]) -> Any:
        result = self._function(*values)
        if self._gpu:
            _synchronize()
        return result

    def _arguments(self, described: list[dict[str, Any]]) -> list[Any]:
        return [
            view(self._arena, item["offset"], item["shape"], item["dtype"])
            if "offset" in item
            else item["value"]
            for item in described
        ]

    def _poison_free_memory(self, outputs: list[dict[str, Any]], poison: int) -> None:
        blocks = [
            _empty_like(view(self._arena, slot["offset"], slot["shape"], slot["dtype"]))
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
        start = _data_ptr(result)
        storage = result.untyped_storage().data_ptr()
        earlier = [
            item.untyped_storage().data_ptr()
            for item in self._results
            if isinstance(item, torch.Tensor)
        ]
        arena = self._arena.data_ptr()
        return {
            "type": _type_name(result),
            "shape": list(result.shape),
            "dtype": str(result.dtype).removeprefix("torch."),
            "device": result.device.type,
            "strides": list(result.stride()),
            "aliases_input": (storage in storages or arena <= start < arena + self._arena.numel()),
            "aliases_earlier": storage in earlier,
        }

    def _export(self, results: tuple[Any, ...], outputs: list[dict[str, Any]]) -> bool:
        if len(results) != len(outputs):
            return False
        for result, slot in zip(results, outputs, strict=True):
            target = view(self._arena, slot["offset"], slot["shape"], slot["dtype"])
            if not (
                type(result) is torch.Tensor
                and result.shape == target.shape
                and result.dtype == target.dtype
                and result.device == target.device
            ):
                return False
            _copy(target, result)
        if self._gpu:
            _synchronize()
        return True


# bound before an implementation is imported
COMMANDS: Mapping[str, Callable[..., dict[str, Any]]] = MappingProxyType(
    {name: method for name, method in vars(Worker).items() if not name.startswith("_")}
)

# of them those in which no implementation is called, so that none of its garbage is collected
UNCALLED = frozenset({"ready", "attach", "replay", "export", "can_profile", "release"})


class MissingEntryPointError(Exception):
    """The implementation's file defines no function of the operation's name."""


def create_context() -> None:
    """Create the CUDA context; where it fails, attaching the arena fails again and tells why."""
    with contextlib.suppress(RuntimeError):
        torch.zeros(1, device="cuda")


# in a worker that profiles: makes a profiler of the GPU, the kind of what runs there, and whether
# it has seen any
_profiler: tuple[Callable[[], Any], Any, bool] | None = None


def start_profiler() -> None:
    """Have the profiler look at the GPU once: it opens what a sealed worker cannot open any more.

    Where it sees nothing now it sees nothing later either, and the referee asks for that.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    global _profiler  # noqa: PLW0603 - of a process that holds one worker, before it holds any file
    make = functools.partial(profile, activities=[ProfilerActivity.CUDA])
    sees = False
    with contextlib.suppress(Exception):
        with make() as found:
            torch.zeros(1, device="cuda")
            _synchronize()
        sees = any(event.device_type == DeviceType.CUDA for event in found.events())
    _profiler = make, DeviceType.CUDA, sees


def main(channel: Channel, seal: Callable[[], None]) -> None:
    """Serve requests until the referee ends the process."""
    hooks = Hooks()
    worker = Worker(seal, hooks)

    def disarmed(name: str, method: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        def command(**arguments: Any) -> dict[str, Any]:
            if name not in UNCALLED:
                hooks.allow()
            try:
                return method(worker, **arguments)
            finally:
                hooks.disarm()

        return command

    serve(channel, {name: disarmed(name, method) for name, method in COMMANDS.items()})


def _work_of(graph: torch.cuda.CUDAGraph, launches: Launches) -> list[dict[str, Any]]:
    """What a graph holds, and what of it are kernels of one's own; empty where nothing can tell."""
    try:
        work = graphs.describe(graph)
    except (ImportError, RuntimeError):
        return []
    return [item | {"own": item.pop("function", None) in launches.functions} for item in work]


def _below(bound: int) -> int:
    """A number from 0 on that nobody can foresee, about as often each."""
    return int.from_bytes(_urandom(8), "big") % bound


def _event() -> Any:
    return _Event(enable_timing=True)


def _flat(results: Any) -> tuple[Any, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def _type_name(value: Any) -> str:
    """A type's name; a class of another's can call itself what it likes."""
    kind = type(value)
    for known in (torch.Tensor, tuple, list):
        if kind is known:
            return f"{known.__module__}.{known.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__} (a class of its own)"


def _fill_bytes(tensor: torch.Tensor, byte: int) -> None:
    if type(tensor) is torch.Tensor and tensor.is_contiguous():
        _fill(_view(_view(tensor, -1), torch.uint8), byte)


def _short(value: Any) -> str:
    return repr(value)[:80]
