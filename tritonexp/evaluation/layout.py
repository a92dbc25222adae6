"""Where a call's tensors lie in an arena: sets of arguments, then one slot for each result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tritonexp.evaluation.memory import Arena, aligned, same_bits
from tritonexp.operations import ITEMSIZE_BYTES, ScalarArgument, Spec, TensorArgument
from tritonexp.records import Size


@dataclass(frozen=True)
class Layout:
    """Descriptions of arguments and results, as plain data that a worker understands."""

    sets: list[list[dict[str, Any]]]
    outputs: list[dict[str, Any]]
    size_bytes: int

    def write(self, arena: Arena, index: int, values: Sequence[Any]) -> None:
        """Copy arguments into one set of an arena."""
        for item, value in zip(self.sets[index], values, strict=True):
            if "offset" in item:
                arena.view(item["offset"], item["shape"], item["dtype"]).copy_(value)

    def unchanged(self, arena: Arena, index: int, values: Sequence[Any]) -> bool:
        """Whether one set of an arena still holds the same bits as the arguments."""
        return all(
            same_bits(arena.view(item["offset"], item["shape"], item["dtype"]), value)
            for item, value in zip(self.sets[index], values, strict=True)
            if "offset" in item
        )

    def results(self, arena: Arena) -> list[torch.Tensor]:
        """The results that a worker copied into an arena; views, valid until the next call."""
        return [arena.view(slot["offset"], slot["shape"], slot["dtype"]) for slot in self.outputs]


def lay_out(spec: Spec, size: Size, dtype: str, sets: int) -> Layout:
    """Lay out a number of argument sets and one set of results at a size and dtype."""
    offset = 0

    def place(axes: tuple[str, ...]) -> dict[str, Any]:
        nonlocal offset
        shape = spec.shape_of(axes, size)
        placed = {"offset": offset, "shape": list(shape), "dtype": dtype}
        offset += aligned(math.prod(shape) * ITEMSIZE_BYTES[dtype])
        return placed

    def describe(argument: TensorArgument | ScalarArgument) -> dict[str, Any]:
        if isinstance(argument, ScalarArgument):
            return {"value": argument.value}
        return place(argument.shape)

    described = [[describe(argument) for argument in spec.arguments] for _ in range(sets)]
    outputs = [place(axes) for axes in spec.outputs]
    return Layout(sets=described, outputs=outputs, size_bytes=offset)
