"""One worker, from fork to end: what it sees, how its failures are called, what is left of it."""

import json
import os
import signal
import time

import pytest
import torch
from candidates import KERNEL, RIGHT, body, candidate
from processes import children_of, is_running, wait_until

from tritonexp.evaluation.forkserver import ForkServer, Places, Settings
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew, WorkerFailedError
from tritonexp.records import Status

SLOT = {"shape": [4, 33], "dtype": "float32"}
RUN = {
    "arguments": [{"offset": 0, **SLOT}],
    "outputs": [{"offset": 1024, **SLOT}],
    "poison": 0xAB,
}


@pytest.fixture(scope="module")
def server():
    """A fork server for the interpreter, started with a secret in its parent's environment."""
    os.environ["ANTHROPIC_API_KEY"] = "hunter2"
    try:
        started = ForkServer(Settings(None))
        started.wait_ready()
    finally:
        del os.environ["ANTHROPIC_API_KEY"]
    yield started
    started.close()


@pytest.fixture
def arena():
    """Room for one argument and one result."""
    made = Arena(4096, "cpu")
    made.wipe()
    made.view(0, (4, 33), "float32").normal_()
    yield made
    made.close()


@pytest.fixture
def start(server, arena):
    """Starts a worker for a source and imports it; ends all at the end of the test."""
    crews = []

    def started(source):
        crews.append(Crew(server, candidate(source), [arena]))
        (worker,) = crews[-1].workers
        worker.finish_start(20)
        return worker

    yield started
    for crew in crews:
        crew.close()


def failure_of(worker, timeout_s=20):
    """How a worker fails at a call."""
    with pytest.raises(WorkerFailedError) as caught:
        worker.call("run", timeout_s, **RUN)
    return caught.value


def printed_by(start, expression):
    """What an expression is inside a worker, as JSON."""
    worker = start(body(f"import json\nraise ValueError(json.dumps({expression}))"))
    return json.loads(failure_of(worker).reason.removeprefix("ValueError: "))


def test_right_kernel_answers_with_what_it_did(start, arena):
    """The result lies in the arena, and the answer says its form and which kernel was launched."""
    answer = start(RIGHT).call("run", 20, **RUN)
    expected = arena.view(0, (4, 33), "float32").softmax(dim=1)
    assert arena.view(1024, (4, 33), "float32").allclose(expected, atol=1e-6)
    assert answer["launched"] == {"softmax_kernel": 1}
    assert answer["copied"] is True
    (result,) = answer["results"]
    assert (result["type"], result["shape"], result["dtype"]) == (
        "torch.Tensor",
        [4, 33],
        "float32",
    )
    assert result["aliases_input"] is False


def test_worker_sees_no_secret_of_the_referee(start):
    """The parent's key is in no variable, and home is the worker's own folder."""
    found = printed_by(start, "dict(os.environ)")
    assert "hunter2" not in json.dumps(found)
    assert not [name for name in found if "KEY" in name or "TOKEN" in name or "SECRET" in name]
    assert found["HOME"] == found["TMPDIR"] != os.environ.get("HOME")


def test_worker_holds_no_descriptor_of_another(start, server, arena):
    """Beside its log it has its end of one channel and its own arena, whoever else is running."""
    other = Arena(4096, "cpu")
    before = Crew(server, candidate(RIGHT), [other])
    names = printed_by(
        start,
        "[[n, os.readlink(n), os.stat(n).st_ino] for n in map('/proc/self/fd/{}'.format, range(99))"
        " if os.path.islink(n)]",
    )
    assert before.workers[0].alive
    beyond = [item for item in names if int(item[0].rpartition("/")[2]) > 2]
    sockets = [name for _, name, _ in beyond if name.startswith("socket:")]
    memory = {number for _, name, number in beyond if name.startswith("/memfd:")}
    assert len(sockets) == 1, names
    assert memory == {os.fstat(arena.descriptor).st_ino}, names
    assert not [name for _, name, _ in beyond if name.startswith(str(server.folder))], names
    assert names[0][1] == "/dev/null"
    before.close()
    other.close()


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("raise ValueError('rows must be even\\nand more')", Status.RUNTIME_ERROR, "rows must be"),
        ("return 1 / 0", Status.RUNTIME_ERROR, "ZeroDivisionError: division by zero"),
        ("sys.exit(0)", Status.RUNTIME_ERROR, "SystemExit: 0"),
        ("raise KeyboardInterrupt", Status.RUNTIME_ERROR, "KeyboardInterrupt"),
        ("return softmax(x)", Status.RUNTIME_ERROR, "RecursionError"),
        ("raise torch.cuda.OutOfMemoryError('2 GiB')", Status.OUT_OF_MEMORY, "2 GiB"),
        ("raise MemoryError", Status.OUT_OF_MEMORY, "MemoryError"),
        (
            "raise triton.runtime.errors.OutOfResources(300000, 232448, 'shared memory')",
            Status.COMPILE_ERROR,
            "shared memory",
        ),
    ],
    ids=["raise", "divide", "exit", "interrupt", "recursion", "cuda-memory", "memory", "shared"],
)
def test_exceptions_become_statuses_with_one_line_and_a_traceback(start, text, status, told):
    """The reason is the exception's first line; the log is the traceback in its file."""
    worker = start(body(text))
    failure = failure_of(worker)
    assert failure.status is status
    assert told in failure.reason
    assert "\n" not in failure.reason
    assert "candidate.py" in failure.log
    assert "in softmax" in failure.log
    # an exception is an answer like another: the worker goes on
    assert worker.alive


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("os._exit(0)", "exit code 0"),
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("import ctypes\nctypes.string_at(0)", "SIGSEGV"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.closerange(3, 100)", "exit code"),
        ("class Odd(Exception):\n    __str__ = None\nraise Odd", "exit code"),
    ],
    ids=["exit", "exit-3", "segv", "null", "abort", "kill", "close", "odd-exception"],
)
def test_process_that_ends_is_crashed_and_says_how(start, text, told):
    """The exit code or the signal is in the reason, with the step it happened in."""
    worker = start(body(text))
    failure = failure_of(worker)
    assert failure.status is Status.CRASHED
    assert told in failure.reason
    assert "a call" in failure.reason
    assert not worker.alive


def test_what_a_crashed_worker_printed_is_kept(start):
    """The end of its output is the log, since there is no traceback."""
    worker = start(body("print('row', 7)\nprint('bad', file=sys.stderr)\nos._exit(1)"))
    log = failure_of(worker).log
    assert "row 7" in log
    assert "bad" in log


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        ("import a_package_that_is_absent", Status.IMPORT_ERROR, "a_package_that_is_absent"),
        ("raise RuntimeError('no')", Status.IMPORT_ERROR, "RuntimeError: no"),
        ("sys = None\nimport sys\nsys.exit(0)", Status.IMPORT_ERROR, "SystemExit"),
        ("def relu(x): ...", Status.MISSING_ENTRY_POINT, "softmax is None"),
        ("def softmax(x", Status.SYNTAX_ERROR, "never closed"),
        ("import os\nos._exit(0)", Status.CRASHED, "importing the file"),
    ],
    ids=["absent", "raises", "exits", "no-entry-point", "syntax", "os-exit"],
)
def test_failures_of_the_import_have_their_own_statuses(start, source, status, told):
    """What fails before the first call is told from what fails in it."""
    with pytest.raises(WorkerFailedError) as caught:
        start(source)
    assert caught.value.status is status
    assert told in caught.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "while True: pass",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        "torch.ones(1).requires_grad_()\ntime.sleep(300)",
    ],
    ids=["spins", "ignores-signals", "sleeps"],
)
def test_timeout_kills_what_does_not_end(start, server, text):
    """A call that does not end is killed at its limit, and nothing of it is left."""
    worker = start(body(text))
    process_id = worker._process_id
    begin = time.monotonic()
    failure = failure_of(worker, timeout_s=1)
    assert time.monotonic() - begin < 5
    assert failure.status is Status.TIMEOUT
    assert "limit of 1 s" in failure.reason
    assert not is_running(process_id)
    assert children_of(server._process.pid) == []


def test_asking_who_is_gone_harms_nobody_else(start, server, arena):
    """Its process was reaped, and its number is not asked for again."""
    gone = start(body("os._exit(3)"))
    assert failure_of(gone).status is Status.CRASHED
    crew = Crew(server, candidate(RIGHT), [arena])
    crew.workers[0].finish_start(20)
    assert failure_of(gone).status is Status.CRASHED
    assert server.usable
    assert crew.workers[0].call("run", 20, **RUN)["copied"]
    crew.close()


def test_close_ends_what_the_worker_started(start, server):
    """Children in the background end with their worker."""
    text = (
        "child = subprocess.Popen(['sleep', '300'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "return fused(x, torch.empty_like(x))"
    )
    worker = start(body(text))
    worker.call("run", 20, **RUN)
    (note,) = server.folder.glob("crew-*/child")
    child = int(note.read_text())
    assert is_running(child)
    worker.close()
    assert wait_until(lambda: not is_running(child))


def test_folder_is_gone_after_the_end(server, arena):
    """A crew's folder holds its file while it lives, and nothing stays of it."""
    crew = Crew(server, candidate(body("open('left_behind', 'w').write('x')\nreturn x")), [arena])
    (worker,) = crew.workers
    worker.finish_start(20)
    worker.call("run", 20, **RUN)
    (folder,) = server.folder.glob("crew-*")
    assert {"candidate.py", "left_behind"} <= {item.name for item in folder.iterdir()}
    crew.close()
    assert list(server.folder.glob("crew-*")) == []
    crew.close()


def test_workers_of_a_crew_share_their_folder_and_nothing_else(server, arena):
    """What one compiles the other finds, and each has an arena and a channel of its own."""
    second = Arena(4096, "cpu")
    second.wipe()
    second.view(0, (4, 33), "float32").zero_()
    crew = Crew(server, candidate(RIGHT), [arena, second])
    for worker in crew.workers:
        worker.finish_start(20)
        worker.ask("run", **RUN)
    for worker in crew.workers:
        assert worker.answer(20)["copied"] is True
    assert second.view(1024, (4, 33), "float32").allclose(torch.tensor(1 / 33))
    assert not arena.view(1024, (4, 33), "float32").allclose(torch.tensor(1 / 33))
    crew.close()
    second.close()
    assert children_of(server._process.pid) == []


def test_crews_forked_ahead_are_taken_and_others_are_ended(server, arena):
    """What was forked ahead is what is used; a crew that nobody asks for any more goes away."""
    server.fork_ahead(Places(1), Places(2))
    server.fork_ahead(Places(1))
    taken = server.fork(Places(1))
    assert len(children_of(server._process.pid)) == 1
    assert [folder.name for folder in server.folder.glob("crew-*")] == [taken.folder.name]
    again = server.fork(Places(1))
    assert again.process_ids != taken.process_ids
    for forks in (taken, again):
        for process_id in forks.process_ids:
            server.reap(process_id, 0.0)
    server.fork_ahead(Places(1))
    crew = Crew(server, candidate(RIGHT), [arena])
    crew.workers[0].finish_start(20)
    assert crew.workers[0].call("run", 20, **RUN)["copied"] is True
    crew.close()
    assert children_of(server._process.pid) == []


def test_workers_that_were_forked_ahead_are_waited_for(server, arena):
    """Until each is ready; one that was lost goes, and the others can be used as before."""
    server.fork_ahead(Places(1), Places(2))
    assert server.wait_ahead(Places(2))
    assert not server.wait_ahead(Places(3))
    assert len(children_of(server._process.pid)) == 3
    crew = Crew(server, candidate(RIGHT), [arena])
    crew.workers[0].finish_start(20)
    assert crew.workers[0].call("run", 20, **RUN)["copied"] is True
    crew.close()
    lost = children_of(server._process.pid)
    os.kill(lost[0], signal.SIGKILL)
    (spare,) = server._spare
    assert not server.wait_ahead(Places(2))
    assert children_of(server._process.pid) == []
    assert not spare.folder.exists()


def test_workers_that_are_held_import_nothing_until_they_are_started(server, arena):
    """What a next candidate's file does is not done while another is timed."""
    crew = Crew(server, candidate("raise ValueError\n"), held=1)
    (worker,) = crew.workers
    assert worker.idle
    assert not worker.started
    crew.start([arena])
    with pytest.raises(WorkerFailedError, match="ValueError"):
        worker.finish_start(20)
    crew.close()
    held = Crew(server, candidate(RIGHT), held=2)
    held.close()
    assert children_of(server._process.pid) == []


def test_advice_in_a_cuda_error_is_no_fault(start):
    """Every error of CUDA's ends with advice on device-side assertions; its first line counts."""
    advice = "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."
    told = f"CUDA error: operation not permitted when stream is capturing\\n{advice}"
    failure = failure_of(start(body(f"raise RuntimeError('{told}')")))
    assert failure.status is Status.RUNTIME_ERROR
    lost = f"CUDA error: device-side assert triggered\\n{advice}"
    worker = start(body(f"raise RuntimeError('{lost}')"))
    assert failure_of(worker).status is Status.CRASHED
    assert not worker.alive


@pytest.mark.parametrize(
    "text",
    [
        "os.write(1, b'\\xff' * 5000)\nos.write(2, b'{\"speedup\": 1000}\\n')",
        'print(\'{"nonce": 1, "status": "CORRECT"}\')',
    ],
    ids=["bytes", "result-line"],
)
def test_what_is_printed_never_counts(start, text):
    """Output goes to the log, whatever it looks like."""
    worker = start(body(f"{text}\nreturn fused(x, torch.empty_like(x))"))
    assert worker.call("run", 20, **RUN)["copied"] is True


def test_bytes_on_the_channel_are_tampering(start):
    """A candidate that finds the channel and writes to it is named for it."""
    text = (
        "for descriptor in range(3, 50):\n"
        "    try:\n"
        "        os.write(descriptor, b'CORRECT' * 10)\n"
        "    except OSError:\n"
        "        pass\n"
        "return fused(x, torch.empty_like(x))"
    )
    worker = start(body(text))
    failure = failure_of(worker)
    assert failure.status is Status.TAMPERING
    assert "channel" in failure.reason
    assert not worker.alive


def test_command_that_is_none_is_refused_and_harmless(start):
    """A worker runs the commands that it has, and no other attribute of it."""
    worker = start(RIGHT)
    for command in ("__init__", "_export", "eval"):
        with pytest.raises(WorkerFailedError) as caught:
            worker.call(command, 20)
        assert caught.value.status is Status.RUNTIME_ERROR
    assert worker.call("run", 20, **RUN)["copied"] is True


def test_result_is_not_handed_the_memory_of_the_one_before(start):
    """Unwritten memory shows the poison or nothing known, never an earlier right answer."""
    text = (
        "fused.calls = getattr(fused, 'calls', 0) + 1\n"
        "output = torch.empty_like(x)\n"
        "return fused(x, output) if fused.calls == 1 else output"
    )
    worker = start(body(text))
    arena = worker.arena
    worker.call("run", 20, **RUN)
    right = arena.view(1024, (4, 33), "float32").clone()
    worker.call("run", 20, **RUN)
    assert not arena.view(1024, (4, 33), "float32").equal(right)


def test_interrupt_in_the_terminal_does_not_reach_the_server(server):
    """Ctrl-C is for the referee: the server is in a session of its own and ignores it."""
    assert os.getsid(server._process.pid) != os.getsid(0)
    os.kill(server._process.pid, signal.SIGINT)
    server._ready = False
    server.wait_ready()


def test_closing_the_server_ends_its_workers_and_removes_its_folder():
    """Nothing of a server is left: no process, no folder."""
    own = ForkServer(Settings(None))
    arena = Arena(4096, "cpu")
    (worker,) = Crew(own, candidate(KERNEL + "while True: pass\n"), [arena]).workers
    own.fork_ahead(Places(1))
    own.close()
    assert wait_until(lambda: not is_running(worker._process_id))
    assert not own.folder.exists()
    worker.channel.close()
    arena.close()
