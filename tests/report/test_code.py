"""What is read off a candidate's source."""

from pathlib import Path

import builders as build

from tritonexp.records import StudyRecord, from_json
from tritonexp.report import document
from tritonexp.report.code import analyse

KERNELS = Path(__file__).resolve().parents[2] / "kernels"

AUTOTUNED = """
import os
import torch
import triton as tr
from triton import language as lang
from triton import jit


@tr.autotune(configs=[tr.Config({"BLOCK": 64}), tr.Config({"BLOCK": 128})], key=["n"])
@jit
def first(x_ptr, l, n, BLOCK: lang.constexpr):
    for start in range(0, n, BLOCK):
        v = lang.load(x_ptr + start + lang.arange(0, BLOCK))
        lang.store(x_ptr + start, lang.dot(v, v).to(lang.float16), start < 4096)


def run(x):
    try:
        if x.shape[0] == 4096:
            first[(1,)](x, 1, 4096)
    except:
        pass
"""


def test_plain_kernel_is_described():
    """A masked one-row kernel: its loads, reductions, cast, block size and launch."""
    facts = analyse(build.CANDIDATE_SOURCE)
    (kernel,) = facts.kernels
    assert (kernel.name, kernel.loads, kernel.unguarded_loads) == ("softmax_kernel", 1, 0)
    assert (kernel.stores, kernel.unguarded_stores, kernel.loops) == (1, 0, 0)
    assert {"max", "sum"} <= {name for name, _ in kernel.language_calls}
    assert kernel.casts == ("float32",)
    assert facts.blocks == ("BLOCK_SIZE = triton.next_power_of_2(n_cols)",)
    assert facts.launches == ("softmax_kernel[(rows,)](...)",)
    assert facts.launch_options == ("num_warps=8",)
    assert facts.faults == ()


def test_aliases_and_autotuning_are_followed():
    """Other import names, autotune configurations, loops and positional masks are seen."""
    (kernel,) = analyse(AUTOTUNED).kernels
    assert kernel.configurations == 2
    assert kernel.loops == 1
    assert (kernel.loads, kernel.unguarded_loads) == (1, 1)
    assert (kernel.stores, kernel.unguarded_stores) == (1, 0)
    assert kernel.size_literals == (4096,)


def test_faults_are_found():
    """A bare except, an unused import, a special-cased size and an odd name are found."""
    facts = analyse(AUTOTUNED)
    assert any("bare except" in fault for fault in facts.faults)
    assert "os is imported and not used" in facts.faults
    assert facts.equal_sizes == ("x.shape[0] == 4096",)
    assert facts.odd_names == ("l",)
    assert facts.undocumented == ("first", "run")


def test_source_that_does_not_parse_has_no_facts():
    """A syntax error and a null byte give None rather than an exception."""
    assert analyse("def f(:\n") is None
    assert analyse("x = '\0'") is None


DESCRIPTORS = """
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def _tile(a_desc, c_ptr, rows, N, BN: tl.constexpr, HALVES: tl.constexpr, GROUP: tl.constexpr):
    c_desc = tl.make_tensor_descriptor(c_ptr, [rows, N], [N, 1], [8, BN // 2])
    start = tl.program_id(0) // GROUP
    a = a_desc.load([start, 0])
    tl.store(c_ptr, tl.load(c_ptr))
    c_desc.store([start, 0], _helper(a, HALVES))


@triton.jit
def _helper(a, WIDTH: tl.constexpr):
    wide: tl.constexpr = WIDTH * 2
    return a + tl.arange(0, wide)


def run(a, c, n):
    block, halves = 64, 2
    a_desc = TensorDescriptor(a, a.shape, a.stride(), [8, 64])
    halves = n // block
    _tile[(1,)](a_desc, c, 8, n, BN=block, HALVES=halves, GROUP=4)
    limit = n // 2
    _tile[(2,)](a_desc, c, 8, n, BN=limit, HALVES=1, GROUP=4)
"""


WITHOUT_PARAMETERS = """
import triton
import triton.language as tl

WIDTH = tl.constexpr(128)


@triton.jit
def kernel(x_ptr):
    tl.store(x_ptr + tl.arange(0, WIDTH), 0)
    tl.store(x_ptr + tl.arange(0, 256), 0)
"""

WITHOUT_TILES = """
import triton
import triton.language as tl


@triton.jit
def kernel(x_ptr, BLOCK: tl.constexpr):
    tl.store(x_ptr + BLOCK, 0)


def run(x):
    kernel[(1,)](x, BLOCK=128)
"""


def test_descriptor_accesses_are_counted_as_guarded():
    """Loads and stores that are methods of a descriptor, of the host's too, need no mask."""
    kernel = analyse(DESCRIPTORS).kernels[0]
    assert (kernel.loads, kernel.descriptor_loads, kernel.unguarded_loads) == (2, 1, 1)
    assert (kernel.stores, kernel.descriptor_stores, kernel.unguarded_stores) == (2, 1, 1)


def test_block_sizes_are_found_by_their_use():
    """Any name that becomes an extent, by way of a helper too; what only divides is none."""
    assert analyse(DESCRIPTORS).blocks == (
        "BN = block",
        "BN = n // 2",
        "HALVES = 1",
        "HALVES = halves",
        "block_shape = [8, 64]",
    )


def test_block_sizes_of_autotuning_are_its_values():
    """What configurations try stands behind the name."""
    assert analyse(AUTOTUNED).blocks == ("BLOCK = 64 or 128",)


def test_global_and_written_out_extents_are_block_sizes():
    """A kernel without a parameter for it has a block size all the same."""
    assert analyse(WITHOUT_PARAMETERS).blocks == ("WIDTH = 128", "tl.arange(0, 256)")


def test_kernel_without_tiles_has_no_block_size():
    """A constexpr that is no extent is not called one."""
    assert analyse(WITHOUT_TILES).blocks == ()


def test_recorded_answers_have_block_sizes_and_accesses():
    """Whatever real models name them: no recorded kernel that has loads is without block sizes."""
    recorded = sorted(KERNELS.glob("*/evaluations/*/*.json"))
    assert len(recorded) > 5
    for path in recorded:
        source = from_json(StudyRecord, path.read_bytes()).attempt.source
        facts = analyse(source)
        assert facts.blocks, path
        assert sum(kernel.loads for kernel in facts.kernels) > 0, path
        assert sum(kernel.stores for kernel in facts.kernels) > 0, path


def test_loads_of_a_recorded_product_are_told():
    """Matmul's persistent kernel loads and stores by descriptors alone."""
    path = KERNELS / "matmul" / "evaluations" / "nvidia-h200" / "baseline_only-01.json"
    record = from_json(StudyRecord, path.read_bytes())
    text = document.render(record)
    assert "2 loads, 2 by tensor descriptor; 2 stores, 2 by tensor descriptor; 2 loops" in text
    assert "Block sizes: `BM = 128`, `BM = bm`, `BN = 256`" in text
