"""Shared memory on a CPU: what lies where, who sees it, and what a worker cannot do to it."""

import fcntl
import json
import math
import os
import subprocess
import sys

import pytest
import torch
from processes import open_descriptors

from tritonexp.evaluation.memory import (
    ALIGNMENT_BYTES,
    DTYPES,
    Arena,
    aligned,
    attach,
    same_bits,
    view,
)

# what Linux calls so; the fcntl module has no name for it
F_SEAL_FUTURE_WRITE = 0x10


@pytest.fixture
def arena():
    """An arena of 64 KiB."""
    made = Arena(1 << 16, "cpu")
    yield made
    made.close()


@pytest.mark.parametrize("size_bytes", [0, 1, 511, 512, 513, 1_000_003])
def test_aligned_is_the_next_multiple(size_bytes):
    """Nothing is lost, and less than one alignment is added."""
    found = aligned(size_bytes)
    assert found % ALIGNMENT_BYTES == 0
    assert size_bytes <= found < size_bytes + ALIGNMENT_BYTES


@pytest.mark.parametrize("dtype", DTYPES)
def test_view_is_contiguous_and_shares_the_bytes(arena, dtype):
    """A view has its shape and dtype, starts at its offset, and writes through."""
    made = arena.view(1024, (3, 5), dtype)
    assert (tuple(made.shape), made.dtype) == ((3, 5), DTYPES[dtype])
    assert made.is_contiguous()
    assert made.data_ptr() - arena.bytes.data_ptr() == 1024
    arena.wipe()
    made.zero_()
    end = 1024 + made.numel() * made.element_size()
    assert not arena.bytes[1024:end].any()
    assert arena.bytes[:1024].all()
    assert arena.bytes[end:].all()


@pytest.mark.parametrize(
    ("offset", "shape"),
    [(4, (1,)), (-512, (1,)), (0, (1 << 14, 2)), ((1 << 16) - 512, (129,)), (1 << 16, (1,))],
    ids=["unaligned", "negative", "too-large", "over-the-end", "behind"],
)
def test_view_outside_the_arena_is_refused(arena, offset, shape):
    """A view that is unaligned or reaches out of the arena says what does not fit."""
    with pytest.raises(ValueError, match="do not lie in an arena of 65536"):
        arena.view(offset, shape, "float32")


def test_view_may_end_with_the_arena(arena):
    """The last byte can be used."""
    assert arena.view((1 << 16) - 512, (128,), "float32").numel() == 128


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_same_bits_tells_what_equality_does_not(dtype):
    """NaN is the same as itself, and zero is not the same as minus zero."""
    tensor = torch.tensor([1.0, math.nan, 0.0, -math.inf], dtype=DTYPES[dtype])
    assert same_bits(tensor, tensor.clone())
    negated = tensor.clone()
    negated[2] = -0.0
    assert torch.equal(tensor.nan_to_num(), negated.nan_to_num())
    assert not same_bits(tensor, negated)


def test_wipe_leaves_nothing(arena):
    """After a wipe no byte of an earlier worker is left."""
    arena.bytes.random_(0, 256)
    arena.wipe()
    assert arena.bytes.unique().numel() == 1


def test_other_process_maps_the_same_memory(arena):
    """A process that has the descriptor reads what is written here, and its writes are seen."""
    arena.view(512, (4,), "float32").copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    program = (
        "import json, sys\n"
        "from tritonexp.evaluation.memory import attach, view\n"
        "arena = attach(json.loads(sys.argv[2]), int(sys.argv[1]))\n"
        "view(arena, 1024, [4], 'float32').copy_(view(arena, 512, [4], 'float32') * 10)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(arena.descriptor), json.dumps(arena.handle())],
        check=True,
        pass_fds=(arena.descriptor,),
        timeout=60,
    )
    assert arena.view(1024, (4,), "float32").tolist() == [10.0, 20.0, 30.0, 40.0]


def test_handle_holds_no_way_to_find_another_arena(arena):
    """What a worker is told is the size; the memory itself comes only with the descriptor."""
    assert arena.handle() == {"kind": "memfd", "size_bytes": 1 << 16}
    with pytest.raises(ValueError, match="descriptor"):
        attach(arena.handle(), None)


@pytest.mark.parametrize("size_bytes", [0, 1 << 20])
def test_worker_cannot_resize_the_arena(arena, size_bytes):
    """Memory that shrank under the referee would end it with SIGBUS at its next look."""
    with pytest.raises(OSError, match="Operation not permitted"):
        os.ftruncate(arena.descriptor, size_bytes)
    assert os.fstat(arena.descriptor).st_size == 1 << 16


def test_worker_cannot_seal_the_arena(arena):
    """A worker that sealed it against writes would keep the referee from mapping it again."""
    with pytest.raises(OSError, match="Operation not permitted"):
        fcntl.fcntl(arena.descriptor, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE)


def test_close_returns_the_descriptor():
    """An arena that is closed holds no descriptor, and closing twice does no harm."""
    before = open_descriptors()
    made = Arena(1000, "cpu")
    assert made.size_bytes == 1024
    made.close()
    made.close()
    assert open_descriptors() == before


def test_view_of_a_plain_tensor_checks_the_same():
    """The worker's own views are checked like the referee's."""
    plain = torch.zeros(1024, dtype=torch.uint8)
    assert view(plain, 512, [2, 64], "float32").shape == (2, 64)
    with pytest.raises(ValueError, match="do not lie"):
        view(plain, 512, [2, 65], "float32")
