"""Compiling ahead: what is compiled where, when it is ready, and that nobody waits for who fails.

Compilers are real processes; here they are started alone, since the fork server of a GPU needs one.
"""

import dataclasses
import os
import secrets
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import builders as build
import pytest
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.evaluation import ahead, sandbox
from tritonexp.evaluation.ahead import CompileAhead
from tritonexp.evaluation.channel import Channel
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.offline.parent import call_of
from tritonexp.evaluation.offline.targets import DEVICES, device_of
from tritonexp.evaluation.process import Crew, WorkerFailedError
from tritonexp.records import Case, Status, to_json

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import socket, sys
from tritonexp.evaluation import compiler
from tritonexp.evaluation.channel import Channel
compiler.main(Channel(socket.socket(fileno=int(sys.argv[1]))))
"""
DEVICE = to_json(DEVICES["sm_90"])


@pytest.fixture
def spec():
    """Softmax's."""
    return operations.load("softmax").spec


@pytest.fixture
def start(tmp_path):
    """Starts a process that compiles, with a cache of its own or a given one; returns a channel."""
    started = []

    def run(source, cache="cache"):
        path = tmp_path / "candidate.py"
        path.write_text(source)
        channel, theirs = Channel.pair()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        environment["TRITON_CACHE_DIR"] = str(tmp_path / cache)
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env=environment,
        )
        started.append((process, channel))
        theirs.close()
        channel.ask("load", path=str(path), entry_point="softmax", device=DEVICE)
        return channel, channel.answer(60)

    yield run
    for process, channel in started:
        channel.close()
        process.kill()
        process.wait()


def compiled(channel, spec, extents, dtype="float32"):
    """What a compiler answers to a call."""
    channel.ask("compile", call=to_json(call_of(spec, spec.size(extents), dtype)))
    return channel.answer(60)


def cubins(folder):
    """The kernels that lie in a cache."""
    return sorted(folder.rglob("*.cubin"))


def test_a_call_without_a_gpu_fills_the_cache(start, spec, tmp_path):
    """Each kind of call leaves a kernel for the GPU in the cache, and tells how long it took."""
    channel, loaded = start(RIGHT)
    assert "error" not in loaded
    first = compiled(channel, spec, (64, 64))
    assert 0 < first["compile_s"] <= first["elapsed_s"]
    assert len(cubins(tmp_path / "cache")) == 1
    compiled(channel, spec, (64, 1000))
    assert len(cubins(tmp_path / "cache")) == 2


def test_what_is_in_the_cache_is_not_compiled_again(start, spec, tmp_path):
    """Another process of the crew finds it, as the worker does that launches it."""
    compiled(start(RIGHT)[0], spec, (64, 64))
    before = cubins(tmp_path / "cache")
    assert compiled(start(RIGHT)[0], spec, (64, 64))["compile_s"] == 0
    assert cubins(tmp_path / "cache") == before


def test_a_launcher_is_made_for_each_kernel(start, spec, tmp_path):
    """Triton 3.6 has a C compiler build it, which a worker then finds done."""
    noted = tmp_path / "noted"
    channel, _ = start(
        RIGHT + "\nimport triton.backends.nvidia.driver as nvidia\n"
        "class Launcher:\n    def __init__(self, src, metadata):\n"
        f"        with open({str(noted)!r}, 'a') as file:\n"
        "            print(metadata.name, src.fn.__name__, file=file)\n"
        "        raise RuntimeError('for want of a C compiler')\n"
        "nvidia.CudaLauncher = Launcher\n"
    )
    assert "error" not in compiled(channel, spec, (64, 64))
    assert noted.read_text() == "softmax_kernel softmax_kernel\n"


def test_host_code_that_asks_for_registers_is_compiled_to_its_end(start, spec, tmp_path):
    """It divides by them, and launches as many programs as fit."""
    path = ROOT / "tests" / "redteam" / "honest" / "softmax_occupancy.py"
    assert "n_regs" in path.read_text()
    channel, _ = start(path.read_text())
    assert "error" not in compiled(channel, spec, (64, 64))
    assert len(cubins(tmp_path / "cache")) == 1


def test_a_file_that_raises_is_told_of_and_the_compiler_goes_on(start, spec):
    """What a call raises is an answer; the next call is compiled all the same."""
    text = RIGHT.replace(
        "def softmax(x):", "def softmax(x):\n    if x.shape[0] == 3:\n        raise KeyError(x)"
    )
    channel, _ = start(text)
    assert compiled(channel, spec, (3, 64))["error"]["types"][0] == "KeyError"
    assert "error" not in compiled(channel, spec, (64, 64))


def test_a_gpu_that_is_there_stands_for_itself():
    """Host code hears of the GPU that its kernels will run on."""
    device = device_of(build.H200)
    assert (device.name, device.sm_count) == (build.H200.name, build.H200.sm_count)
    assert f"{device.capability[0]}.{device.capability[1]}" == build.H200.compute_capability
    assert device_of(build.H200).arch == 90


def test_a_crews_compilers_see_no_gpu_and_end_with_it(monkeypatch):
    """They are forked beside the workers, sealed like these, and closed with them."""
    environment = sandbox.environment

    def with_a_gpu(*arguments, **named):
        return environment(*arguments, **named) | {"CUDA_VISIBLE_DEVICES": "7"}

    monkeypatch.setattr(sandbox, "environment", with_a_gpu)
    source = RIGHT + (
        "\nimport os\ntold = os.environ['CUDA_VISIBLE_DEVICES'], os.sched_getscheduler(0),"
        " os.listdir('.')\n"
        # only a compiler is told of a GPU here
        "if torch.cuda.is_available():\n    raise ValueError(told)\n"
    )
    server = ForkServer(Settings(None))
    arena = Arena(4096, "cpu")
    crew = Crew(server, candidate(source), [arena], compilers=2, gpu=build.H200)
    try:
        assert len(crew.compilers) == 2
        for compiler in crew.compilers:
            # of the lowest priority, since somebody else may be timed meanwhile
            told = rf"ValueError: \('', {os.SCHED_IDLE}, \[.*'candidate\.py'"
            with pytest.raises(WorkerFailedError, match=told):
                compiler.answer(60)
        closed = crew.compilers[0].channel
        crew.close()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(closed.fileno())
        assert not any(server.folder.glob("crew-*"))
    finally:
        server.close()
        arena.close()


class MadeUpCompiler:
    """Answers what a test says, or fails."""

    def __init__(self, *said):
        self.said = deque(said)
        self.asked = []
        self.alive = True

    def ask(self, command, **fields):
        """Note what is asked for."""
        self.asked.append((command, fields))

    def answer(self, timeout_s):
        """Say the next thing."""
        said = self.said.popleft()
        if isinstance(said, Exception):
            self.alive = "gone" not in str(said)
            raise said
        return said

    def close(self):
        """Be gone."""
        self.alive = False

    kill = close


DONE = {"elapsed_s": 0.5, "compile_s": 1e-9}
WRONG = WorkerFailedError(Status.RUNTIME_ERROR, "it raised")
GONE = WorkerFailedError(Status.CRASHED, "it is gone")


def groups_of(spec, *extents):
    """A group of one case for each size."""
    return [
        [
            Case(
                size=spec.size(item),
                dtype="float32",
                distribution="normal",
                seed=secrets.randbits(8),
            )
        ]
        for item in extents
    ]


def run(compile_ahead):
    """Let every compiler answer until nothing is expected any more."""
    compile_ahead.step()
    while compile_ahead.is_awaited:
        for desk in compile_ahead.busy:
            compile_ahead.conclude(desk, is_ready=True)
        compile_ahead.step()


def test_groups_become_ready_as_they_are_compiled(spec):
    """Not before, each once, and what is only compiled never."""
    groups = groups_of(spec, (64, 64), (65, 64), (66, 64))
    compiler = MadeUpCompiler({}, DONE, DONE, DONE, DONE)
    others = [*groups_of(spec, (64, 64)), *groups_of(spec, (999, 64))]
    compile_ahead = CompileAhead([compiler], spec, groups, others)
    compile_ahead.step()
    assert not compile_ahead.ready
    run(compile_ahead)
    assert list(compile_ahead.ready) == groups
    # of a kind that is there twice, the first
    assert [command for command, _ in compiler.asked] == ["compile"] * 4
    assert compile_ahead.spent_on(groups[0][0])[1] == 1e-9
    assert compile_ahead.spent_on(groups_of(spec, (7, 7))[0][0]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "said",
    [[WRONG], [{}, WRONG, WRONG, WRONG], [GONE], [{}, GONE], [{}, {"compile_s": "1"}, WRONG, DONE]],
    ids=["import", "calls", "import-gone", "call-gone", "garbage"],
)
def test_nobody_waits_for_a_compiler_that_fails(spec, said):
    """What is not compiled is the worker's, who finds out what is wrong."""
    groups = groups_of(spec, (64, 64), (65, 64), (66, 64))
    compile_ahead = CompileAhead([MadeUpCompiler(*said)], spec, groups)
    run(compile_ahead)
    assert list(compile_ahead.ready) == groups


def test_without_compilers_all_is_ready_at_once(spec):
    """As in the interpreter, where nothing is compiled."""
    groups = groups_of(spec, (64, 64), (65, 64))
    compile_ahead = CompileAhead([], spec, groups)
    compile_ahead.step()
    assert list(compile_ahead.ready) == groups
    assert compile_ahead.busy == []


def test_a_slow_compiler_is_not_waited_for(spec):
    """Its group is a worker's, and it is given another only when it is done after all."""
    groups = groups_of(spec, (64, 64), (65, 64))
    compiler = MadeUpCompiler({}, DONE, DONE)
    compile_ahead = CompileAhead([compiler], spec, groups)
    compile_ahead.step()
    (desk,) = compile_ahead.busy
    compile_ahead.conclude(desk, is_ready=True)
    compile_ahead.step()
    assert [task.group for task in desk.tasks] == groups[:1]
    compile_ahead.conclude(desk, is_ready=False)
    # nobody else is there for the other
    compile_ahead.step()
    assert list(compile_ahead.ready) == groups
    assert (compile_ahead.is_awaited, compile_ahead.busy, compiler.alive) == (False, [desk], True)
    compile_ahead.conclude(desk, is_ready=True)
    assert compile_ahead.busy == []
    assert compile_ahead.spent_on(groups[0][0]) == (0.0, 0.0)


def test_compiling_has_a_budget(spec, monkeypatch):
    """When it is used up, all is left to the workers."""
    monkeypatch.setattr(ahead, "BUDGET_S", 0.0)
    groups = groups_of(spec, (64, 64), (65, 64))
    compiler = MadeUpCompiler({})
    compile_ahead = CompileAhead([compiler], spec, groups)
    compile_ahead.step()
    assert list(compile_ahead.ready) == groups
    assert compiler.asked == []


def test_all_is_asked_for_at_once_where_nobody_looks(spec):
    """In equal shares; what was answered meanwhile is taken later, and counts in full."""
    groups = groups_of(spec, (64, 64), (65, 64), (66, 64))
    compilers = [MadeUpCompiler({}, DONE, DONE), MadeUpCompiler({}, DONE)]
    compile_ahead = CompileAhead(compilers, spec, groups)
    compile_ahead.deal()
    assert [len(compiler.asked) for compiler in compilers] == [2, 1]
    assert not compile_ahead.ready
    compile_ahead.resume()
    run(compile_ahead)
    assert sorted(compile_ahead.ready, key=groups.index) == groups
    assert [len(compiler.asked) for compiler in compilers] == [2, 1]
    assert all(compile_ahead.spent_on(group[0])[1] == 1e-9 for group in groups)


def test_the_rest_of_many_is_given_out_when_somebody_looks(spec):
    """One compiler is dealt what its channel holds; all is compiled, and none of it is left."""
    groups = groups_of(spec, *((number, 64) for number in range(64, 115)))
    compiler = MadeUpCompiler({}, *[DONE] * 51)
    compile_ahead = CompileAhead([compiler], spec, groups)
    compile_ahead.deal()
    assert len(compiler.asked) == ahead.MAX_DEALT
    compile_ahead.resume()
    compile_ahead.step()
    assert not compile_ahead.ready
    run(compile_ahead)
    assert list(compile_ahead.ready) == groups
    assert len(compiler.asked) == 51
    assert all(compile_ahead.spent_on(group[0])[1] == 1e-9 for group in groups)


@pytest.mark.parametrize("name", operations.names())
def test_a_compiler_that_does_not_read_keeps_nobody_waiting(name):
    """Its import may take for ever, and the candidate before it waits for its timing meanwhile."""
    spec = operations.load(name).spec
    channel, unread = Channel.pair()
    compiler = MadeUpCompiler()
    compiler.ask = channel.ask
    channel.ask("load", path=100 * "x", entry_point=name, device=DEVICE)
    case = build.case_results(1)[0].case
    size = spec.size(tuple(map(spec.max_extents.__getitem__, spec.axes)))
    groups = [[dataclasses.replace(case, size=size, dtype=spec.timed_dtype)] for _ in range(51)]
    begin_s = time.monotonic()
    CompileAhead([compiler], spec, groups).deal()
    assert time.monotonic() - begin_s < 5
    channel.close()
    unread.close()


def test_time_that_nobody_looked_does_not_count(spec, monkeypatch):
    """Neither as a compiler's patience nor as the budget of all."""
    groups = groups_of(spec, (64, 64), (65, 64))
    compile_ahead = CompileAhead([MadeUpCompiler({}, DONE, DONE)], spec, groups)
    compile_ahead.deal()
    now_s = ahead.time.perf_counter() + 2 * ahead.BUDGET_S
    monkeypatch.setattr(ahead.time, "perf_counter", lambda: now_s)
    (desk,) = compile_ahead.busy
    assert desk.limit_s < now_s
    compile_ahead.resume()
    assert desk.limit_s > now_s
    compile_ahead.step()
    assert not compile_ahead.ready


def test_who_is_late_is_not_waited_for_in_what_else_it_was_dealt(spec):
    """All of it is left to the workers, and its answers are of no use any more."""
    groups = groups_of(spec, (64, 64), (65, 64))
    compile_ahead = CompileAhead([MadeUpCompiler({}, DONE, DONE)], spec, groups)
    compile_ahead.deal()
    (desk,) = compile_ahead.busy
    compile_ahead.conclude(desk, is_ready=True)
    compile_ahead.conclude(desk, is_ready=False)
    assert list(compile_ahead.ready) == groups
    for _ in groups:
        assert not compile_ahead.is_awaited
        compile_ahead.conclude(desk, is_ready=True)
    assert compile_ahead.busy == []
    assert list(compile_ahead.ready) == groups


@pytest.mark.parametrize(("timeout_s", "patience_s"), [(5.0, 5.0), (600.0, ahead.PATIENCE_S)])
def test_compiler_is_waited_for_no_longer_than_a_call(spec, timeout_s, patience_s):
    """What hangs in a compiler hangs in a worker too, and has had its time then."""
    groups = groups_of(spec, (64, 64))
    compile_ahead = CompileAhead([MadeUpCompiler({}, DONE)], spec, groups, (), timeout_s)
    (desk,) = compile_ahead.busy
    assert desk.limit_s == desk.begin_s + patience_s


def test_what_a_lost_compiler_was_dealt_goes_to_another(spec):
    """What it was at is a worker's, the rest is compiled all the same."""
    groups = groups_of(spec, (64, 64), (65, 64), (66, 64), (67, 64))
    lost, other = MadeUpCompiler({}, GONE), MadeUpCompiler({}, DONE, DONE, DONE)
    compile_ahead = CompileAhead([lost, other], spec, groups)
    compile_ahead.deal()
    run(compile_ahead)
    assert sorted(compile_ahead.ready, key=groups.index) == groups
    spent = [compile_ahead.spent_on(group[0]) for group in groups]
    assert [item == (0.0, 0.0) for item in spent] == [True, False, False, False]


def test_what_takes_longest_is_compiled_first(spec):
    """Blocks grow with the length of a row, and the last to begin is who is waited for."""
    groups = groups_of(spec, (64, 64), (2, 32_769), (4096, 1024))
    compiler = MadeUpCompiler({}, DONE, DONE, DONE)
    run(CompileAhead([compiler], spec, groups))
    asked = [fields["call"] for _, fields in compiler.asked]
    assert asked == [
        to_json(call_of(spec, spec.size(extents), "float32"))
        for extents in ((2, 32_769), (4096, 1024), (64, 64))
    ]


def test_budget_holds_for_what_was_dealt_too(spec, monkeypatch):
    """What is not there when it is used up is a worker's."""
    groups = groups_of(spec, (64, 64), (65, 64))
    compile_ahead = CompileAhead([MadeUpCompiler({}, DONE, DONE)], spec, groups)
    compile_ahead.deal()
    monkeypatch.setattr(ahead, "BUDGET_S", 0.0)
    compile_ahead.resume()
    compile_ahead.step()
    assert list(compile_ahead.ready) == groups
    assert not compile_ahead.is_awaited


AUTOTUNED = RIGHT.replace(", num_warps=8", "").replace(
    "@triton.jit",
    "@triton.autotune([triton.Config({}, num_warps=warps) for warps in (1, 2)], key=['n_cols'],"
    " cache_results=True)\n@triton.jit",
)


def test_all_configurations_are_compiled_and_none_is_chosen(start, spec, tmp_path):
    """Who tunes on the GPU must find no choice that was made without it."""
    assert "cache_results" in AUTOTUNED
    channel, loaded = start(AUTOTUNED)
    assert "error" not in loaded
    assert "error" not in compiled(channel, spec, (64, 64))
    assert len(cubins(tmp_path / "cache")) == 2
    assert not list(tmp_path.rglob("*.autotune.json"))
