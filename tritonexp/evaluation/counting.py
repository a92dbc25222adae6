"""What the calls of an implementation ask of memory, counted in Triton's interpreter.

Runs in the worker, beside the implementation, so what it says is the worker's own account and no
verdict follows from it. A kernel's request counts each time it is made, whatever a cache of a GPU
would serve; an element that is masked does not count. Of torch's operations each is taken to read
its arguments once and to write its results once, views and empty tensors aside: what an operation
of several passes moves beyond that is not seen. Nor is what a kernel reads and writes in shared
memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

from tritonexp.evaluation.answers import TRAFFIC_FIGURES

# all of the interpreter's other ways to memory lead through these
_LOAD, _STORE = "create_masked_load", "create_masked_store"
_ATOMICS = {"create_atomic_rmw": (1, 3), "create_atomic_cas": (0, None)}
# operations that write an argument without reading it
_OVERWRITING = ("copy_", "fill_", "zero_")
# operations that write nothing, though their result is new
_EMPTY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view")


class Requests:
    """Counts while it is open; `counts` are the figures, by the names in TRAFFIC_FIGURES."""

    def __init__(self, arguments: Sequence[Any] = ()) -> None:
        """Of the arguments it is told apart what kernels read of each, in `argument_bytes`."""
        self.counts = dict.fromkeys(TRAFFIC_FIGURES, 0)
        self.argument_bytes = [0] * len(arguments)
        self._places = [_place_of(argument) for argument in arguments]
        self._restored: list[tuple[type, str, Any]] = []
        self._operations = _Operations(self.counts)

    def __enter__(self) -> Self:
        self._replace(GridExecutor, "__call__", self._launching)
        self._replace(InterpreterBuilder, _LOAD, self._loading)
        self._replace(InterpreterBuilder, _STORE, self._storing)
        for name, places in _ATOMICS.items():
            self._replace(InterpreterBuilder, name, self._updating(*places))
        self._operations.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._operations.__exit__(kind, error, trace)
        for owner, name, original in reversed(self._restored):
            setattr(owner, name, original)

    def _replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        original = owner.__dict__[name]
        self._restored.append((owner, name, original))
        setattr(owner, name, make(original))

    def _launching(self, original: Any) -> Any:
        def call(executor: Any, *args: Any, **kwargs: Any) -> Any:
            # what the interpreter itself does to a launch's tensors is no work of a GPU's
            self._operations.paused += 1
            try:
                result = original(executor, *args, **kwargs)
            finally:
                self._operations.paused -= 1
            self.counts["launches"] += 1
            return result

        return call

    def _loading(self, original: Any) -> Any:
        def load(builder: Any, pointers: Any, mask: Any, *args: Any, **kwargs: Any) -> Any:
            self._read(pointers, mask)
            return original(builder, pointers, mask, *args, **kwargs)

        return load

    def _storing(self, original: Any) -> Any:
        def store(
            builder: Any, pointers: Any, value: Any, mask: Any, *args: Any, **kwargs: Any
        ) -> Any:
            self._write(pointers, mask)
            return original(builder, pointers, value, mask, *args, **kwargs)

        return store

    def _updating(self, pointer_place: int, mask_place: int | None) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            def update(builder: Any, *args: Any) -> Any:
                mask = None if mask_place is None else args[mask_place]
                self._read(args[pointer_place], mask)
                self._write(args[pointer_place], mask)
                return original(builder, *args)

            return update

        return make

    def _read(self, pointers: Any, mask: Any) -> None:
        reached, itemsize_bytes = _reached(pointers, mask)
        self.counts["read_bytes"] += len(reached) * itemsize_bytes
        for number, (start, end) in enumerate(self._places):
            inside = np.count_nonzero((reached >= start) & (reached < end))
            self.argument_bytes[number] += int(inside) * itemsize_bytes

    def _write(self, pointers: Any, mask: Any) -> None:
        reached, itemsize_bytes = _reached(pointers, mask)
        self.counts["written_bytes"] += len(reached) * itemsize_bytes


class _Operations(TorchDispatchMode):  # type: ignore[misc] # torch ships no types that strict mode takes
    """Counts what torch's operations read and write."""

    def __init__(self, counts: dict[str, int]) -> None:
        super().__init__()
        self.paused = 0
        self._counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self.paused:
            name = func._schema.name.partition("::")[2]  # noqa: SLF001 - it has no public name
            if not (_is_view(func) or name in _EMPTY):
                self._count(func, name, (*args, *(kwargs or {}).values()), result)
        return result

    def _count(self, func: Any, name: str, given: tuple[Any, ...], result: Any) -> None:
        written = list(_tensors(result))
        overwritten = written if name in _OVERWRITING or func._overloadname == "out" else []  # noqa: SLF001 - the same
        for tensor in _tensors(given):
            if not any(tensor is item for item in overwritten):
                self._counts["torch_read_bytes"] += _distinct_bytes(tensor)
        self._counts["torch_written_bytes"] += sum(map(_distinct_bytes, written))


def _is_view(func: Any) -> bool:
    """Whether an operation only looks at the memory of an argument in another way."""
    returned = [item.alias_info for item in func._schema.returns]  # noqa: SLF001 - it has no public name
    return any(alias is not None and not alias.is_write for alias in returned)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _distinct_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the elements that lie at places of their own: an expanded axis repeats one."""
    extents = zip(tensor.shape, tensor.stride(), strict=True)
    count = math.prod(extent for extent, stride in extents if stride or not extent)
    return int(count) * int(tensor.element_size())


def _place_of(argument: Any) -> tuple[int, int]:
    """Where a tensor lies; nowhere for what is none."""
    if not isinstance(argument, torch.Tensor):
        return 0, 0
    start = argument.data_ptr()
    return start, start + argument.numel() * argument.element_size()


def _reached(pointers: Any, mask: Any) -> tuple[Any, int]:
    """The addresses in a block of pointers that a mask lets through, and the bytes at each.

    A mask is a handle of the interpreter's, or an array where a version of Triton passes one.
    """
    addresses = pointers.data
    if mask is not None:
        let = mask if isinstance(mask, np.ndarray) else mask.data
        addresses = addresses[np.broadcast_to(let, addresses.shape)]
    # a truth value is one bit in Triton's eyes and a byte in memory
    return addresses.reshape(-1), max(1, pointers.get_element_ty().primitive_bitwidth // 8)
