"""Where a call's tensors lie in an arena."""

import itertools
import math

import pytest
import torch

from tritonexp import operations
from tritonexp.evaluation.inputs import make_arguments
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import ALIGNMENT_BYTES, Arena
from tritonexp.operations import ITEMSIZE_BYTES
from tritonexp.records import Case

PAIRS = ((1, 1), (3, 257), (7, 1000))
EVERY_LAYOUT = [
    (name, pair, dtype, sets)
    for name in operations.names()
    for pair in PAIRS
    for dtype in operations.load(name).spec.dtypes
    for sets in (1, 3)
]


def laid_out(name, pair, dtype, sets):
    """The spec, the size and the layout."""
    spec = operations.load(name).spec
    size = spec.size(pair)
    return spec, size, lay_out(spec, size, dtype, sets)


@pytest.mark.parametrize(("name", "pair", "dtype", "sets"), EVERY_LAYOUT)
def test_tensors_lie_apart_aligned_and_inside(name, pair, dtype, sets):
    """No two tensors share a byte, each starts aligned, and the size covers the last."""
    _, _, layout = laid_out(name, pair, dtype, sets)
    placed = [item for group in layout.sets for item in group if "offset" in item]
    spans = sorted(
        (item["offset"], item["offset"] + math.prod(item["shape"]) * ITEMSIZE_BYTES[item["dtype"]])
        for item in [*placed, *layout.outputs]
    )
    assert all(start % ALIGNMENT_BYTES == 0 for start, _ in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert spans[0][0] == 0
    assert spans[-1][1] <= layout.size_bytes


@pytest.mark.parametrize("name", operations.names())
def test_shapes_and_scalars_are_those_of_the_spec(name):
    """Each set has an entry for each argument in order; scalars go by value."""
    spec, size, layout = laid_out(name, (3, 257), "float16", 2)
    assert len(layout.sets) == 2
    for group in layout.sets:
        for argument, item in zip(spec.arguments, group, strict=True):
            if argument in spec.tensors:
                assert item["shape"] == list(spec.shape_of(argument.shape, size))
                assert item["dtype"] == "float16"
            else:
                assert item == {"value": argument.value}
    assert [slot["shape"] for slot in layout.outputs] == [
        list(spec.shape_of(axes, size)) for axes in spec.outputs
    ]


@pytest.mark.parametrize("name", operations.names())
def test_one_changed_bit_of_any_argument_is_seen(name):
    """What was written is unchanged until a bit of it is not; other sets do not matter."""
    spec, size, layout = laid_out(name, (3, 257), "float32", 2)
    case = Case(size=size, dtype="float32", distribution="normal", seed=3)
    values = make_arguments(spec, case, "cpu")
    arena = Arena(layout.size_bytes, "cpu")
    arena.wipe()
    layout.write(arena, 1, values)
    assert layout.unchanged(arena, 1, values)
    assert not layout.unchanged(arena, 0, values)
    tensors = [item for item in layout.sets[1] if "offset" in item]
    for item in tensors:
        last = item["offset"] + 4 * math.prod(item["shape"]) - 1
        before = int(arena.bytes[last])
        arena.bytes[last] = before ^ 0x80
        assert not layout.unchanged(arena, 1, values)
        arena.bytes[last] = before
    assert layout.unchanged(arena, 1, values)
    arena.close()


def test_nan_in_an_argument_is_no_change():
    """Bits are compared, so an input that holds NaN counts as untouched."""
    spec, size, layout = laid_out("softmax", (3, 257), "float32", 1)
    values = [torch.full(spec.shape_of(spec.arguments[0].shape, size), math.nan)]
    arena = Arena(layout.size_bytes, "cpu")
    layout.write(arena, 0, values)
    assert layout.unchanged(arena, 0, values)
    arena.close()


def test_results_are_views_of_the_arena():
    """What a worker copies to the slots is what the referee reads, in the order of the outputs."""
    spec, size, layout = laid_out("softmax", (3, 257), "float32", 1)
    arena = Arena(layout.size_bytes, "cpu")
    arena.wipe()
    (result,) = layout.results(arena)
    assert tuple(result.shape) == spec.shape_of(spec.outputs[0], size)
    start = layout.outputs[0]["offset"]
    arena.bytes[start : start + 4].view(torch.float32).fill_(2.5)
    assert float(result[0, 0]) == 2.5
    del result
    arena.close()
