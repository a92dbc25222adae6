"""What is read off a candidate's source."""

import builders as build

from tritonexp.report.code import analyse

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
