"""What a call asks of memory is counted to the byte, in a worker that costs nobody anything else.

Through the interpreter's own fork server, as on a GPU machine; needs no GPU.
"""

import dataclasses
import time

import pytest
from candidates import RIGHT, body, candidate
from processes import children_of

from tritonexp import operations
from tritonexp.errors import EvaluationError
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.traffic import TrafficCounter
from tritonexp.records import ArgumentReads, Role

HEAD = "import os\nimport sys\nimport torch\nimport triton\nimport triton.language as tl\n\n\n"
# the maximum in one way over the row, everything else in another
TWO_PASSES = """\
@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols: tl.constexpr, BLOCK_SIZE: tl.constexpr):
    row_start = tl.program_id(0).to(tl.int64) * n_cols
    maximum = tl.full((BLOCK_SIZE,), -float("inf"), tl.float32)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=-float("inf"))
        maximum = tl.maximum(maximum, x)
    largest = tl.max(maximum, axis=0)
    for start in range(0, n_cols, BLOCK_SIZE):
        cols = start + tl.arange(0, BLOCK_SIZE)
        x = tl.load(x_ptr + row_start + cols, mask=cols < n_cols, other=-float("inf"))
        tl.store(output_ptr + row_start + cols, tl.exp(x - largest), mask=cols < n_cols)


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1], BLOCK_SIZE=256)
    return output
"""
# 7 programs: each adds to one sum, to 50 elements under a mask, and exchanges one
ATOMICS = """\
@triton.jit
def softmax_kernel(x_ptr, sums_ptr, flag_ptr, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    tl.atomic_add(sums_ptr, 1.0)
    tl.atomic_add(sums_ptr + cols, 1.0, mask=cols < 50)
    tl.atomic_max(sums_ptr + cols, 1.0, mask=cols < 50)
    tl.atomic_cas(flag_ptr, 0, 1)


def softmax(x):
    sums, flag = torch.empty(64), torch.empty(1, dtype=torch.int32)
    softmax_kernel[(7,)](x, sums, flag, BLOCK_SIZE=64)
    return x
"""
# 7 x 1000 in blocks of 8 x 1024, whose rest lies beyond the tensor
DESCRIPTORS = """\
@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_rows, n_cols):
    source = tl.make_tensor_descriptor(x_ptr, (n_rows, n_cols), (n_cols, 1), (8, 1024))
    target = tl.make_tensor_descriptor(output_ptr, (n_rows, n_cols), (n_cols, 1), (8, 1024))
    target.store([0, 0], source.load([0, 0]))


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(1,)](x, output, *x.shape)
    return output
"""
BLOCK_POINTERS = """\
@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_rows, n_cols):
    source = tl.make_block_ptr(x_ptr, (n_rows, n_cols), (n_cols, 1), (0, 0), (8, 1024), (1, 0))
    target = tl.make_block_ptr(output_ptr, (n_rows, n_cols), (n_cols, 1), (0, 0), (8, 1024), (1, 0))
    tl.store(target, tl.load(source, boundary_check=(0, 1)), boundary_check=(0, 1))


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(1,)](x, output, *x.shape)
    return output
"""
# all configurations are tried in the first call, and one of them runs in the second
TUNED = """\
@triton.autotune(
    configs=[triton.Config({"BLOCK_SIZE": 1024}, num_warps=warps) for warps in (1, 2, 4, 8)],
    key=["n_cols"],
)
@triton.jit
def softmax_kernel(x_ptr, output_ptr, n_cols, BLOCK_SIZE: tl.constexpr):
    cols = tl.arange(0, BLOCK_SIZE)
    place = tl.program_id(0) * n_cols + cols
    x = tl.load(x_ptr + place, mask=cols < n_cols)
    tl.store(output_ptr + place, x, mask=cols < n_cols)


def softmax(x):
    output = torch.empty_like(x)
    softmax_kernel[(x.shape[0],)](x, output, x.shape[1])
    return output
"""
TWICE = "fused(x, torch.empty_like(x))\nreturn fused(x, torch.empty_like(x))"
# its own half-precision copy is what the kernel reads
CASTS = "return fused(x.half(), torch.empty_like(x))"


@pytest.fixture(scope="module")
def server():
    """A fork server of the interpreter, as candidates and references have one each on a GPU."""
    started = ForkServer(Settings(None))
    started.wait_ready()
    yield started
    started.close()


@pytest.fixture
def counter(server):
    """Counts softmax at 7x1000 float32, which is 28,000 bytes in and as many out."""
    operation = operations.load("softmax")
    spec = dataclasses.replace(operation.spec, interpreter=((3, 257), (7, 1000)))
    made = TrafficCounter(spec, lambda: (server, server))
    yield made
    made.close()
    assert children_of(server._process.pid) == []
    assert list(server.folder.glob("crew-*")) == []


@pytest.fixture
def count(counter):
    """The traffic of one source as a candidate."""

    def counted(source, wait_s=30):
        counter.start([candidate(source)])
        return counter.collect(wait_s)["candidate"]

    return counted


@pytest.mark.parametrize(
    ("source", "launches", "read_bytes", "written_bytes"),
    [
        # BLOCK_SIZE is 1024: the 24 elements beyond each row are masked and do not count
        (RIGHT, 1, 28_000, 28_000),
        (HEAD + TWO_PASSES, 1, 56_000, 28_000),
        # (1 + 50 + 50 + 1) elements of four bytes, in each of 7 programs, both ways
        (HEAD + ATOMICS, 1, 2_856, 2_856),
        (HEAD + DESCRIPTORS, 1, 28_000, 28_000),
        (HEAD + BLOCK_POINTERS, 1, 28_000, 28_000),
        (HEAD + TUNED, 1, 28_000, 28_000),
        (body(TWICE), 2, 56_000, 56_000),
    ],
    ids=["one-pass", "two-passes", "atomics", "descriptors", "block-pointers", "tuned", "twice"],
)
def test_requests_are_counted_to_the_byte(count, source, launches, read_bytes, written_bytes):
    """Loads, stores and atomics count by unmasked elements, and torch's empty memory does not."""
    found = count(source)
    assert found.reason == ""
    assert found.launches == launches
    assert (found.read_bytes, found.written_bytes) == (read_bytes, written_bytes)
    assert (found.torch_read_bytes, found.torch_written_bytes) == (0, 0)


def test_least_and_size_follow_from_the_spec(count):
    """It is counted at the largest of the interpreter's sizes, where an argument is read once."""
    found = count(RIGHT)
    assert (found.size.label, found.dtype, found.flops) == ("7x1000", "float32", None)
    assert (found.least_read_bytes, found.least_written_bytes) == (28_000, 28_000)
    assert found.arguments == (ArgumentReads(name="x", read_bytes=28_000, size_bytes=28_000),)


def test_operations_of_torch_are_counted_apart(count):
    """A copy in half precision is torch's read and write, and the kernel reads no argument."""
    found = count(body(CASTS))
    assert (found.torch_read_bytes, found.torch_written_bytes) == (28_000, 14_000)
    assert (found.read_bytes, found.written_bytes) == (14_000, 28_000)
    assert found.arguments == (ArgumentReads(name="x", read_bytes=0, size_bytes=28_000),)


def test_baseline_reads_five_times_and_writes_three_times(counter):
    """The naive softmax: maximum, difference, exponential, sum and quotient, plus its columns."""
    counter.start([operations.load("softmax").baseline])
    found = counter.collect(30)["baseline"]
    assert (found.launches, found.read_bytes, found.written_bytes) == (0, 0, 0)
    # a column of 7 maxima and one of 7 sums, and where the maxima are, in 8 bytes each
    assert found.torch_read_bytes == 5 * 28_000 + 2 * 28
    assert found.torch_written_bytes == 3 * 28_000 + 2 * 28 + 56


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("raise OSError('no file')\n" + RIGHT, "no file"),
        (body("raise ValueError('no GPU')"), "no GPU"),
        (body("assert x.is_cuda\nreturn x"), "AssertionError"),
        (body("return fused(x, torch.empty_like(x, device='cuda'))"), ""),
        (body("os._exit(3)"), "exit code 3"),
        (body("import ctypes\nctypes.string_at(0)"), "SIGSEGV"),
    ],
    ids=["import", "call", "no-gpu", "cuda", "exit", "crash"],
)
def test_what_cannot_be_interpreted_has_a_reason(count, source, told):
    """No figures are made up for a file that the interpreter cannot run."""
    found = count(source)
    assert found.reason
    assert told in found.reason
    assert (found.launches, found.read_bytes, found.written_bytes) == (None, None, None)
    assert (found.torch_read_bytes, found.torch_written_bytes) == (None, None)
    assert found.arguments == ()
    assert found.least_read_bytes == 28_000


def test_who_takes_too_long_is_ended_and_has_a_reason(count):
    """Nobody waits for a count beyond its limit."""
    begin = time.monotonic()
    found = count(body("while True: pass"), wait_s=1)
    assert time.monotonic() - begin < 10
    assert "longer than the limit of 1 s" in found.reason
    assert found.read_bytes is None


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "read_bytes=-1, **REST",
        "read_bytes=1.5, **REST",
        "read_bytes=1 << 99, **REST",
        "read_bytes=True, **REST",
        "read_bytes=1, **REST | {'argument_bytes': None}",
        "read_bytes=1, **REST | {'argument_bytes': [1, 2]}",
        "error=3",
    ],
    ids=["empty", "negative", "fraction", "huge", "truth", "no-list", "long-list", "error"],
)
def test_odd_answer_is_a_reason_and_no_error_of_ours(count, answer):
    """What a worker says of itself is checked for form, like everything else."""
    text = f"""\
REST = dict.fromkeys(("launches", "written_bytes", "torch_read_bytes", "torch_written_bytes"), 0)
REST["argument_bytes"] = [1]
frame = sys._getframe()
while "channel" not in frame.f_locals:
    frame = frame.f_back
frame.f_locals["channel"].reply({answer})
raise SystemExit
"""
    found = count(body(text))
    assert "which none of ours does" in found.reason or "error" in found.reason
    assert found.read_bytes is None


def test_references_are_counted_once(counter):
    """What a reference asks for does not depend on the candidate, so it is kept."""
    baseline = operations.load("softmax").baseline
    counter.start([candidate(RIGHT), baseline])
    first = counter.collect(30)
    counter.start([candidate(HEAD + TWO_PASSES), baseline])
    assert list(counter._under_way) == ["candidate"]
    second = counter.collect(30)
    assert first["baseline"] is second["baseline"]
    assert (first["candidate"].read_bytes, second["candidate"].read_bytes) == (28_000, 56_000)


def test_reference_that_was_only_slow_is_counted_again(counter):
    """A machine that was busy once has not the last word."""
    slow = dataclasses.replace(
        candidate(body(f"time.sleep(0.4)\n{RIGHT.splitlines()[-1].strip()}")),
        name="house",
        role=Role.CONTENDER,
    )
    counter.start([slow])
    assert counter.collect(0.1)["house"].read_bytes is None
    counter.start([slow])
    assert counter.collect(30)["house"].read_bytes == 28_000


def test_torch_compile_is_not_tried(counter):
    """It would write C++ here, which says nothing of what it writes for a GPU."""
    compiled = dataclasses.replace(
        operations.load("softmax").baseline, name="compile", role=Role.CONTENDER
    )
    counter.start([compiled])
    assert counter._under_way == {}
    assert "torch.compile" in counter.collect(1)["compile"].reason


def test_lost_server_is_a_reason():
    """The evaluation goes on where the interpreter's server cannot fork."""

    class Gone:
        def fork(self, count):
            raise EvaluationError("the process that workers are forked from is gone")

    made = TrafficCounter(operations.load("softmax").spec, lambda: (Gone(), Gone()))
    made.start([candidate(RIGHT)])
    assert "is gone" in made.collect(1)["candidate"].reason
