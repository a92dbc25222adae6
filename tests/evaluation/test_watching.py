"""What a worker notices: its own kernels' launches, and what was replaced.

Launches on a GPU are shown on stand-ins for compiled kernels; the tests marked gpu show them whole.
"""

import builtins
import functools
import time
import types

import pytest
import torch
import triton
from triton.compiler.compiler import CompiledKernel

from tritonexp.evaluation.watching import Guard, Launches


def own_kernel():
    """Stands for a kernel of this file."""


FOREIGN = types.FunctionType(
    compile("def own_kernel(): ...", "/elsewhere/house.py", "exec").co_consts[0], {}
)


class Metadata:
    """What the launch hook is given."""

    def __init__(self, name):
        self.name = name

    def get(self):
        """As Triton's own."""
        return {"name": self.name}


@pytest.fixture
def launch(monkeypatch):
    """Launches a stand-in for a compiled kernel as Triton does; returns what really ran."""
    ran = []

    def launch_metadata(kernel, grid, stream, *args):
        return Metadata(kernel.told)

    def run(kernel):
        return lambda metadata: (
            triton.knobs.runtime.launch_enter_hook(metadata),
            ran.append(kernel.name),
        )

    monkeypatch.setattr(CompiledKernel, "launch_metadata", launch_metadata)
    monkeypatch.setattr(CompiledKernel, "run", property(run))

    def launched(function, name="own_kernel", grid=(1,), told=None):
        kernel = object.__new__(CompiledKernel)
        kernel.name = name
        kernel.function = len(ran) + 1
        kernel.told = told or name
        kernel.src = types.SimpleNamespace(fn=types.SimpleNamespace(fn=function))
        kernel.run(kernel.launch_metadata(grid, 0))
        return ran

    return launched


def test_own_kernels_are_counted_by_where_they_are_defined(launch):
    """A kernel of another file is none of ours, whatever its name; ours has the name it runs by."""
    with Launches(__file__, gpu=True) as launches:
        launch(own_kernel)
        launch(own_kernel, "renamed_1024")
        launch(own_kernel, "renamed_1024")
        launch(FOREIGN)
    launch(own_kernel)
    assert launches.counts == {"own_kernel": 1, "renamed_1024": 2}
    # what was launched first, second and third
    assert launches.functions == {1, 2, 3}


def test_kernel_has_the_name_that_the_driver_knows(launch):
    """A kernel's own launch_metadata may call it anything: a size, or another's name."""
    with Launches(__file__, gpu=True) as launches:
        launch(own_kernel, told="own_kernel [n=64]")
        launch(own_kernel, told="softmax_warp_forward")
    assert launches.counts == {"own_kernel": 2}


@pytest.mark.parametrize("grid", [(0,), (8, 0, 1)])
def test_launch_of_no_blocks_is_none(launch, grid):
    """Triton calls its hook before it sees that there is nothing to launch."""
    with Launches(__file__, gpu=True) as launches:
        launch(own_kernel, grid=grid)
    assert (launches.counts, launches.functions) == ({}, set())


def test_muted_kernels_are_counted_and_do_nothing(launch):
    """Only ours are silenced, and only while it lasts."""
    with Launches(__file__, gpu=True, muted=True) as launches:
        launch(own_kernel)
        assert launch(FOREIGN, "foreign") == ["foreign"]
    assert launches.counts == {"own_kernel": 1}
    assert launch(own_kernel) == ["foreign", "own_kernel"]


def test_nothing_is_left_of_a_watch_that_ended_badly(launch):
    """What was replaced for counting is back, also after an exception."""
    before = (CompiledKernel.__dict__["launch_metadata"], CompiledKernel.__dict__["run"])
    with pytest.raises(ValueError, match="no"), Launches(__file__, gpu=True, muted=True):
        raise ValueError("no")
    assert (CompiledKernel.__dict__["launch_metadata"], CompiledKernel.__dict__["run"]) == before
    assert launch(own_kernel) == ["own_kernel"]


def test_guard_finds_nothing_where_nothing_was_replaced():
    """Looking, calling and watching change nothing."""
    guard = Guard()
    torch.empty(3).fill_(1).clone().copy_(torch.zeros(3))
    with Launches(__file__, gpu=False):
        pass
    assert guard.replaced() == []


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (time, "perf_counter", "time.perf_counter"),
        (torch, "empty_like", "torch.empty_like"),
        (torch.Tensor, "copy_", "torch.Tensor.copy_"),
        (torch.cuda, "synchronize", "torch.cuda.synchronize"),
        (torch.cuda.Event, "elapsed_time", "Event.elapsed_time"),
        (torch.cuda.CUDAGraph, "replay", "CUDAGraph.replay"),
        (triton.testing, "do_bench", "triton.testing.do_bench"),
        (CompiledKernel, "launch_metadata", "CompiledKernel.launch_metadata"),
    ],
)
def test_guard_names_what_was_replaced(monkeypatch, owner, name, told):
    """The owner and the name are told, as one would write them."""
    guard = Guard()
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, functools.partial(original))
    (found,) = guard.replaced()
    assert found.endswith(told)
    monkeypatch.undo()
    assert guard.replaced() == []


def test_guard_knows_what_a_function_does(monkeypatch):
    """It can be replaced within the function, which stays the same."""
    guard = Guard()
    monkeypatch.setattr(triton.testing.do_bench, "__code__", (lambda fn: 0).__code__)
    (found,) = guard.replaced()
    assert found.endswith("triton.testing.do_bench")


@pytest.mark.parametrize("name", ["range", "isinstance", "super", "getattr"])
def test_guard_watches_what_every_module_calls(monkeypatch, name):
    """The worker's own functions call them too."""
    guard = Guard()
    original = getattr(builtins, name)
    with monkeypatch.context() as patched:
        patched.setattr(builtins, name, lambda *_: original)
        found = guard.replaced()
    assert found == [f"builtins.{name}"]


def test_guard_takes_more_to_watch(monkeypatch):
    """A worker adds its own commands."""
    owner = type("Worker", (), {"replay": lambda _: 1})
    guard = Guard((owner, ("replay",)))
    monkeypatch.setattr(owner, "replay", lambda _: 0)
    assert [name.rpartition(".")[2] for name in guard.replaced()] == ["replay"]
