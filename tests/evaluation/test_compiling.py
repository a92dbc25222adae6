"""What Triton says of its own compiling and tuning, in seconds; needs no GPU.

A kernel is really compiled for sm_90; an autotuner tunes a stand-in for a kernel.
"""

import time

import pytest
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.autotuner import Autotuner

from tritonexp.evaluation.compiling import CompileClock

TARGET = GPUTarget("cuda", 90, 32)


@triton.jit
def copy_kernel(x_ptr, output_ptr, n_elements, BLOCK_SIZE: tl.constexpr):  # noqa: N803 - the name of a tl.constexpr
    """Copy a block."""
    offsets = tl.program_id(0) * BLOCK_SIZE + tl.arange(0, BLOCK_SIZE)
    inside = offsets < n_elements
    tl.store(output_ptr + offsets, tl.load(x_ptr + offsets, mask=inside), mask=inside)


def compile_copy():
    """Compile the kernel, or find it in the cache."""
    source = ASTSource(
        fn=copy_kernel,
        signature={"x_ptr": "*fp32", "output_ptr": "*fp32", "n_elements": "i32"},
        constexprs={"BLOCK_SIZE": 1024},
    )
    triton.compile(source, target=TARGET)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that is empty when a test begins."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


class Tuned:
    """Stands for a kernel that an autotuner calls; its calls take a while."""

    arg_names = ("n",)

    def __init__(self, call):
        self.fn = call
        self.run = lambda *args, **kwargs: call()


def tuner_of(call, configurations=3):
    """An autotuner that makes each configuration's call once and takes the first for the best."""

    def bench(kernel_call, quantiles):
        kernel_call()
        return [1.0] * len(quantiles)

    configs = [triton.Config({"SIZE": 1 << n}) for n in range(configurations)]
    kernel = Tuned(call)
    return Autotuner(kernel, kernel.arg_names, configs, ["n"], None, None, do_bench=bench)


def test_compiler_says_how_long_it_took():
    """The time lies within what went by, and what the cache holds costs nothing."""
    begin = time.perf_counter()
    with CompileClock() as first:
        compile_copy()
    assert 0 < first.compile_s <= time.perf_counter() - begin
    assert first.autotune_s == 0
    with CompileClock() as second:
        compile_copy()
    assert second.compile_s == 0


def test_tuning_counts_once_for_each_search():
    """A call that finds its configuration known adds nothing."""
    tuner = tuner_of(lambda: time.sleep(0.02))
    with CompileClock() as first:
        tuner.run(7)
    assert 0.06 <= first.autotune_s < 0.5
    with CompileClock() as second:
        tuner.run(7)
    assert second.autotune_s == 0
    assert tuner.bench_time == pytest.approx(first.autotune_s)
    with CompileClock() as third:
        tuner.run(8)
    assert third.autotune_s >= 0.06


def test_compiling_for_an_autotuner_is_compiling():
    """The two figures are parts of one whole: nothing counts in both."""

    def call():
        compile_copy()
        time.sleep(0.02)

    begin = time.perf_counter()
    with CompileClock() as clock:
        tuner_of(call).run(7)
    took_s = time.perf_counter() - begin
    assert clock.compile_s > 0
    assert clock.autotune_s >= 0.06
    assert clock.compile_s + clock.autotune_s <= took_s


def test_failed_search_leaves_the_clock_usable():
    """An exception of a kernel's goes on its way."""

    def fail():
        raise ValueError("no")

    with CompileClock() as clock, pytest.raises(ValueError, match="no"):
        tuner_of(fail).run(7)
    assert clock.autotune_s == 0


def test_what_was_there_is_back_and_is_told_too():
    """Another listener hears of everything, and nothing is left behind."""
    heard = []
    before, run = triton.knobs.compilation.listener, Autotuner.run
    triton.knobs.compilation.listener = lambda **told: heard.append(sorted(told))
    try:
        with CompileClock() as clock:
            compile_copy()
        assert clock.compile_s > 0
        assert heard == [["cache_hit", "metadata", "metadata_group", "src", "times"]]
        compile_copy()
        assert len(heard) == 2
    finally:
        triton.knobs.compilation.listener = before
    assert Autotuner.run is run
