"""What the fork server watches, and what its workers reach, through the referee's own handles.

The limits of the tests are lower than the real ones, so that reaching them costs little. What the
walls are made of is in test_confinement.py.
"""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import builders as build
import landlockpy
import pytest
from candidates import RIGHT, candidate
from processes import children_of, is_running, wait_until

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import forkserver, sandbox
from tritonexp.evaluation.forkserver import ForkServer, Places, Settings, log_in
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew, WorkerFailedError
from tritonexp.evaluation.server import _memory_bytes
from tritonexp.records import Status

ROOT = Path(__file__).resolve().parents[2]
EXPERT = "liger_kernel"
# a process of its own that has other limits: what forkserver starts is told by its arguments alone
WITH_LIMITS = """\
from tritonexp.evaluation import server

total, free = (server._memory_bytes(name) for name in ("MemTotal", "MemAvailable"))
{limits}
server.main()
"""
LOW_LIMITS = """\
server.MAX_PROCESSES = 8
server.MAX_FOLDER_BYTES = 1 << 30
server.MAX_MEMORY_SHARE = (1 << 30) / total
"""
# the machine's memory is all but used up when half a GiB more is taken than as the server starts
HIGH_LEAST_FREE = "server.LEAST_FREE_SHARE = (free - (1 << 29)) / total"
# what follows is done as a file is imported, and so by the first line of a candidate's that runs
START_MANY = "for _ in range(20):\n    subprocess.Popen(['sleep', '300'])\n"
FILL_MEMORY = "held = b'x' * (3 << 29)\n"
# no file of these is over the limit of one
# deeper than Python removes, and longer than a path may be
NEST_DEEPLY = """\
for _ in range(1500):
    os.mkdir("d" * 20)
    os.chdir("d" * 20)
"""
FILL_FOLDER = """\
for number in range(6):
    with open(f'file-{number}', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, 250 << 20)
"""
FILL_SHARED_MEMORY = """\
import mmap
held = mmap.mmap(-1, 3 << 29)
for begin in range(0, 3 << 29, 1 << 24):
    held[begin:begin + (1 << 24)] = b'x' * (1 << 24)
"""
# goes on far beyond half a GiB, for what others give back meanwhile
TAKE_UNMAPPED_MEMORY = """\
for _ in range(24):
    os.posix_fallocate(os.memfd_create('held'), 0, 125 << 20)
    time.sleep(0.1)
"""
FILL_WITHOUT_NAMES = """\
for number in range(6):
    file = os.open(f'file-{number}', os.O_WRONLY | os.O_CREAT)
    os.unlink(f'file-{number}')
    os.posix_fallocate(file, 0, 250 << 20)
"""
# several looks of the server's
A_WHILE = "time.sleep(1)\n"
FOR_LONG = "time.sleep(300)\n"


def doing(text):
    """The right kernel in a file that does something else first."""
    return f"import json, os, signal, socket, subprocess, time\n{text}\n{RIGHT}"


def with_limits(folder, settings, limits=LOW_LIMITS):
    """A fork server that has other limits, lower ones unless they are given."""
    script = folder / "with_limits.py"
    script.write_text(WITH_LIMITS.format(limits=limits))
    start = subprocess.Popen

    def start_script(command, **options):
        if "tritonexp.evaluation.server" in command:
            python, *_, descriptor, given, crews = command
            command = [python, str(script), descriptor, given, crews]
        return start(command, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver.subprocess, "Popen", start_script)
        return ForkServer(settings)


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A fork server with lower limits and the walls."""
    started = with_limits(tmp_path_factory.mktemp("limited"), Settings(None))
    yield started
    started.close()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """A fork server with lower limits and no walls, started as on a kernel that has none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landlockpy, "abi_version", lambda: 0)
        started = with_limits(tmp_path_factory.mktemp("open"), Settings(None, sandbox=False))
    started.wait_ready()
    yield started
    started.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The user's own folder, in which the command was started."""
    made = tmp_path_factory.mktemp("home")
    (made / "key").write_text("hunter2")
    return made


@pytest.fixture(scope="module")
def server(home):
    """A fork server as a candidate's is, started by a user who stands in their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        started = ForkServer(Settings(None, hidden=(EXPERT,)))
    started.wait_ready()
    yield started
    started.close()


@pytest.fixture
def start():
    """Starts a crew for a source, which it begins to import; ends all at the end of the test."""
    crews, arenas = [], []

    def started(server, source, workers=1):
        own = [Arena(4096, "cpu") for _ in range(workers)]
        arenas.extend(own)
        crews.append(Crew(server, candidate(source), own))
        return crews[-1]

    yield started
    for crew in crews:
        crew.close()
    for arena in arenas:
        arena.close()


def finish(crew):
    """Wait until each worker has imported its file."""
    for worker in crew.workers:
        worker.finish_start(20)


def failures_of(crew):
    """How each worker of a crew fails at its import."""
    found = []
    for worker in crew.workers:
        with pytest.raises(WorkerFailedError) as caught:
            worker.finish_start(20)
        found.append(caught.value)
    return found


def said_by(crew):
    """What the only worker of a crew told by raising it, as JSON."""
    (failure,) = failures_of(crew)
    assert failure.reason.startswith("ValueError: "), failure.reason
    return json.loads(failure.reason.removeprefix("ValueError: "))


def group_of(process_id):
    """The processes of a group that are there and no zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            group = int(path.read_text().rpartition(")")[2].split()[2])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if group == process_id and is_running(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def assert_nothing_is_left(server, crew):
    """No process of a crew runs, and after its end no folder is there."""
    for worker in crew.workers:
        assert not worker.alive
        assert wait_until(lambda: group_of(worker._process_id) == [])  # noqa: B023
    crew.close()
    assert not crew._forks.folder.exists()
    assert server.usable


# --- limits ---


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        (START_MANY, Status.CRASHED, "a worker had started more than 8 processes"),
        (FILL_MEMORY, Status.OUT_OF_MEMORY, "its workers had taken more than 1 GiB of memory"),
        (
            FILL_SHARED_MEMORY,
            Status.OUT_OF_MEMORY,
            "its workers had taken more than 1 GiB of memory",
        ),
        (FILL_FOLDER, Status.CRASHED, "its workers had written more than 1 GiB"),
        (NEST_DEEPLY, Status.CRASHED, "its folder was nested deeper than 64"),
    ],
    ids=["processes", "memory", "shared memory", "folder", "depth"],
)
def test_worker_over_a_limit_is_ended_and_told_why(limited, open_server, start, text, status, told):
    """Its status and reason name the limit, and nothing of it stays, with the walls or without."""
    for each in (limited, open_server):
        crew = start(each, doing(text + FOR_LONG))
        (failure,) = failures_of(crew)
        assert failure.status is status
        assert told in failure.reason
        assert_nothing_is_left(each, crew)


@pytest.mark.parametrize(
    "text",
    [
        "for _ in range(4):\n    subprocess.Popen(['sleep', '300'])\n",
        "held = b'x' * (1 << 28)\n",
        "with open('file', 'wb') as file:\n    os.posix_fallocate(file.fileno(), 0, 250 << 20)\n",
    ],
    ids=["processes", "memory", "folder"],
)
def test_worker_below_the_limits_goes_on(limited, start, text):
    """A compiler or two, a buffer and a cache are nobody's business."""
    crew = start(limited, doing(text + A_WHILE))
    finish(crew)
    assert crew.workers[0].idle


@pytest.mark.skipif(_memory_bytes("MemAvailable") < 4 << 30, reason="needs 4 GiB of free memory")
def test_worker_that_leaves_the_machine_no_memory_is_ended(tmp_path, start):
    """Memory that shows as no process's is bounded by what the machine has left."""
    server = with_limits(tmp_path, Settings(None), HIGH_LEAST_FREE)
    try:
        crew = start(server, doing(TAKE_UNMAPPED_MEMORY + FOR_LONG))
        (failure,) = failures_of(crew)
        assert failure.status is Status.OUT_OF_MEMORY
        assert "the machine had only" in failure.reason
        assert_nothing_is_left(server, crew)
    finally:
        server.close()


@pytest.mark.skipif(_memory_bytes("MemAvailable") < 4 << 30, reason="needs 4 GiB of free memory")
def test_memory_that_another_takes_is_nobodys_fault(tmp_path, start):
    """The largest crew is ended then too, but the evaluation stops and accuses nobody."""
    server = with_limits(tmp_path, Settings(None), HIGH_LEAST_FREE)
    try:
        crew = start(server, RIGHT)
        finish(crew)
        (worker,) = crew.workers
        # far more than a worker has
        taken = b"x" * (5 << 29)
        assert wait_until(lambda: not is_running(worker._process_id))
        with pytest.raises(
            EvaluationError,
            match=r"workers of candidate were ended, since something else had used up the machine's"
            r" memory: the machine had only \d+ MiB of memory left, and these workers had taken \d+"
            r" MiB\. Nothing is said of this",
        ):
            worker.call("run", 20)
        del taken
        assert_nothing_is_left(server, crew)
    finally:
        server.close()


def test_what_a_worker_shares_with_its_server_does_not_count(tmp_path, start):
    """Each fork has all that the server imported, which is in the machine's memory once."""
    limits = "server.MAX_MEMORY_SHARE = (1 << 28) / total"
    server = with_limits(tmp_path, Settings(None), limits)
    try:
        crew = start(server, doing(A_WHILE), workers=4)
        finish(crew)
        assert all(worker.idle for worker in crew.workers)
        (failure, *_) = failures_of(start(server, doing("held = b'x' * (3 << 27)\n" + FOR_LONG)))
        assert failure.status is Status.OUT_OF_MEMORY
    finally:
        server.close()


@pytest.mark.xfail(strict=True, reason="deleted files that are open do not count")
def test_files_without_names_count(limited, start):
    """A file that was removed is on the disk until it is closed."""
    crew = start(limited, doing(FILL_WITHOUT_NAMES + A_WHILE))
    (failure,) = failures_of(crew)
    assert "more than 1 GiB" in failure.reason
    assert_nothing_is_left(limited, crew)


@pytest.mark.skipif(_memory_bytes("MemAvailable") < 4 << 30, reason="needs 4 GiB of free memory")
def test_compiler_that_takes_too_much_memory_is_ended_alone(tmp_path):
    """Nobody depends on what it compiles, so the worker beside it goes on."""
    server = with_limits(tmp_path, Settings(None), "server.MAX_WORKER_BYTES = 1 << 30")
    arena = Arena(4096, "cpu")
    # only a compiler is told of a GPU here
    source = doing(f"import torch\nif torch.cuda.is_available():\n    {FILL_MEMORY}")
    crew = Crew(server, candidate(source), [arena], compilers=1, gpu=build.H200)
    try:
        finish(crew)
        (compiler,), (worker,) = crew.compilers, crew.workers
        assert wait_until(lambda: group_of(compiler._process_id) == [])
        assert worker.idle
        assert is_running(worker._process_id)
    finally:
        crew.close()
        server.close()
        arena.close()


def test_crew_that_a_compiler_ends_has_a_status(open_server):
    """A next candidate's compilers hold its file before its workers have begun."""
    source = doing(
        "import torch\nif torch.cuda.is_available():\n    os.makedirs('/'.join('d' * 80))"
    )
    arena = Arena(4096, "cpu")
    crew = Crew(open_server, candidate(source), held=1, compilers=1, gpu=build.H200)
    try:
        (worker,) = crew.workers
        assert wait_until(lambda: not is_running(worker._process_id))
        crew.start([arena])
        with pytest.raises(WorkerFailedError, match="nested deeper than 64") as caught:
            worker.finish_start(20)
        assert caught.value.status is Status.CRASHED
    finally:
        crew.close()
        arena.close()


def test_server_that_cannot_start_says_why(tmp_path, monkeypatch):
    """Its log is there until it was read, and then nothing of it is."""
    (tmp_path / "refuses_to_load.py").write_text("raise ValueError('not on this machine')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = ForkServer(Settings(None, preload=("refuses_to_load",)))
    with pytest.raises(EvaluationError, match=r"ValueError: not on this machine.*doctor"):
        server.wait_ready()
    server.close()
    assert not server.folder.exists()


def test_memory_of_a_crew_counts_together(limited, start):
    """Two workers that share the limit are ended, though neither is over it alone."""
    crew = start(limited, doing("held = b'x' * (5 << 27)\n" + FOR_LONG), workers=2)
    failures = failures_of(crew)
    assert [failure.status for failure in failures] == [Status.OUT_OF_MEMORY] * 2
    assert all("its workers had taken more than 1 GiB" in failure.reason for failure in failures)
    assert_nothing_is_left(limited, crew)


def test_other_crews_go_on_when_one_is_ended(limited, start):
    """One crew's limit is nothing to another, running, idle or new."""
    idle = start(limited, RIGHT, workers=2)
    finish(idle)
    running = start(limited, doing("time.sleep(1.5)"))
    over = start(limited, doing(START_MANY + FOR_LONG))
    (failure,) = failures_of(over)
    assert "8 processes" in failure.reason
    assert_nothing_is_left(limited, over)
    finish(start(limited, RIGHT))
    finish(running)
    assert all(is_running(worker._process_id) for worker in (*idle.workers, *running.workers))


def test_children_of_a_worker_that_ended_itself_are_ended(limited, start):
    """What a worker leaves behind in its group goes with it."""
    text = "for _ in range(4):\n    subprocess.Popen(['sleep', '300'])\nos._exit(3)\n"
    crew = start(limited, doing(text))
    (failure,) = failures_of(crew)
    assert "exit code 3" in failure.reason
    assert_nothing_is_left(limited, crew)


# --- walls ---


def reading(*paths):
    """A file that tells which of some paths it can read."""
    return doing(
        "found = []\n"
        f"for path in {[str(path) for path in paths]!r}:\n"
        "    try:\n"
        "        open(path, 'rb').read(9)\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    found.append(path)\n"
        "raise ValueError(json.dumps(found))"
    )


def test_worker_reads_its_own_folder_and_no_other_crews(server, open_server, start):
    """Another crew's file and log, and what the server prints, are closed to it."""
    for each, is_open in ((server, False), (open_server, True)):
        other = start(each, RIGHT)
        finish(other)
        theirs = (
            other._forks.folder / "candidate.py",
            log_in(other._forks.folder, 0),
            each.folder / "forkserver.log",
        )
        assert said_by(start(each, reading(*theirs))) == [str(path) for path in theirs if is_open]
        own = said_by(start(each, doing("raise ValueError(json.dumps(os.listdir()))")))
        assert "candidate.py" in own


def test_worker_reads_no_expert(server, open_server, start):
    """The expert's package that the settings hide is closed, and open where there are no walls."""
    path = Path(find_spec(EXPERT).origin)
    assert said_by(start(server, reading(path))) == []
    assert said_by(start(open_server, reading(path))) == [str(path)]


def test_worker_writes_outside_only_without_walls(server, open_server, start, tmp_path):
    """With sandbox=off a file beside the folder is written, so what refuses it is the walls."""
    for each, name in ((server, "confined"), (open_server, "open")):
        path = tmp_path / name
        text = f"open({str(path)!r}, 'w').write('word')\nraise ValueError('[1]')"
        (failure,) = failures_of(start(each, doing(text)))
        assert ("PermissionError" in failure.reason) is (each is server)
    assert [path.name for path in tmp_path.iterdir()] == ["open"]


def test_worker_opens_a_socket_only_without_walls(server, open_server, start):
    """The seal is there when a candidate's file is imported."""
    text = "socket.socket().close()\nraise ValueError('[1]')"
    (failure,) = failures_of(start(server, doing(text)))
    assert "PermissionError" in failure.reason
    assert said_by(start(open_server, doing(text))) == [1]


def test_worker_cannot_signal_the_server_or_the_referee(server, start):
    """Neither the process that it was forked from nor ours is within its reach."""
    for process_id in (server._process.pid, os.getpid()):
        text = f"os.kill({process_id}, signal.SIGURG)\nraise ValueError('[1]')"
        (failure,) = failures_of(start(server, doing(text)))
        assert "PermissionError" in failure.reason


def test_worker_cannot_read_where_the_command_was_started(server, home, start):
    """The user's own folder stays closed if that is where they stand."""
    assert said_by(start(server, reading(home / "key"))) == []


def in_the_logs_place(target, attempts):
    """A file that tries to put something else in its log's place, and keeps what came of it."""
    return (
        f"target = {str(target)!r}\n"
        "log = os.readlink('/proc/self/fd/1')\n"
        "found = {}\n"
        "print('printed', flush=True)\n"
        "open('own', 'w').write('in a file of its own')\n"
        # the names that a log would have in the worker's folder are its own to use
        "os.symlink(target, 'log-0.txt')\n"
        "os.symlink(target, os.path.basename(log))\n"
        f"for attempt in {attempts!r}:\n"
        "    try:\n"
        "        exec(attempt)\n"
        "        found[attempt] = 'done'\n"
        "    except OSError as error:\n"
        "        found[attempt] = type(error).__name__\n"
    )


LINKS = (
    "os.remove(log)",
    "os.symlink(target, log)",
    "os.replace('log-0.txt', log)",
    "os.rename(log, log + '.old')",
    "os.link('own', log)",
    "open(log, 'w').write('written over')",
)
PIPES = (
    "os.mkfifo('pipe')",
    "os.remove(log)",
    "os.mkfifo(log)",
    "os.replace('pipe', log)",
)


def test_worker_puts_nothing_in_its_logs_place(server, open_server, home, start):
    """It neither removes nor replaces its log, which lies in the server's folder."""
    # where it could, nothing is left there, which without walls the referee would read
    say = (
        "if found['os.remove(log)'] == 'done':\n"
        "    os.remove(log)\n"
        "raise ValueError(json.dumps(found))"
    )
    for attempts, own in ((LINKS, set()), (PIPES, {"os.mkfifo('pipe')"})):
        text = doing(in_the_logs_place(home / "key", attempts) + say)
        confined, free = said_by(start(server, text)), said_by(start(open_server, text))
        assert free == dict.fromkeys(attempts, "done")
        assert {name for name, outcome in confined.items() if outcome == "done"} == own, confined


def test_log_that_should_be_a_link_shows_what_was_printed(server, home, start):
    """A worker's log is what it printed, and no file that it names: the referee can read all."""
    text = doing(in_the_logs_place(home / "key", LINKS) + "os._exit(1)")
    (failure,) = failures_of(start(server, text))
    assert failure.log == "printed\n"


@pytest.mark.timeout(60)
def test_log_that_should_be_a_pipe_stops_nobody(server, home, start):
    """A worker that would have a pipe for its log does not keep the referee waiting."""
    text = doing(in_the_logs_place(home / "key", PIPES) + "os._exit(1)")
    (failure,) = failures_of(start(server, text))
    assert "exit code 1" in failure.reason
    assert failure.log == "printed\n"


def test_kernel_without_walls_starts_a_server_only_with_sandbox_off(monkeypatch, open_server):
    """The message comes before a process is started; without the sandbox none is needed."""
    monkeypatch.setattr(landlockpy, "abi_version", lambda: 0)
    before = children_of(os.getpid())
    with pytest.raises(EvaluationError, match="sandbox=off"):
        ForkServer(Settings(None))
    assert children_of(os.getpid()) == before
    assert open_server.usable


# --- ends ---


def test_server_that_answers_late_is_not_asked_again(monkeypatch):
    """What it says later would be taken for the answer to something else, so another is started."""
    settings = Settings(None, preload=("json",))
    late = forkserver.standing_server(settings)
    late.wait_ready()
    with monkeypatch.context() as patch:
        patch.setattr(forkserver, "START_TIMEOUT_S", 0.2)
        os.kill(late._process.pid, signal.SIGSTOP)
        with pytest.raises(EvaluationError, match=r"is gone \(no answer in time\); run it again"):
            late.fork(Places())
    assert not late.usable
    with pytest.raises(EvaluationError, match="is gone"):
        late.fork(Places())
    assert wait_until(lambda: not is_running(late._process.pid))
    after = forkserver.standing_server(settings)
    assert after is not late
    assert after.fork(Places()).process_ids
    after.close()


def test_server_that_starts_late_is_not_asked_again(monkeypatch):
    """Whoever is told that it did not start is not told later that it did."""
    late = ForkServer(Settings(None))
    with monkeypatch.context() as patch:
        patch.setattr(forkserver, "START_TIMEOUT_S", 0.01)
        with pytest.raises(EvaluationError, match=r"did not start: no answer in time"):
            late.wait_ready()
    assert not late.usable
    with pytest.raises(EvaluationError, match="did not start"):
        late.fork(Places())
    late.close()


KILLED_REFEREE = """\
import os, signal
from candidates import RIGHT, candidate
from tritonexp.evaluation.forkserver import ForkServer, Settings
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew

source = "import subprocess\\nsubprocess.Popen(['sleep', '60'])\\n" + RIGHT
crew = Crew(ForkServer(Settings(None)), candidate(source), [Arena(4096, "cpu")])
crew.workers[0].finish_start(20)
print(crew.workers[0]._process_id, crew._forks.folder.parent, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_outlives_a_referee_that_was_killed(tmp_path):
    """What a worker started goes too where no handler of ours can run, and so do its files."""
    path = os.pathsep.join(str(ROOT / part) for part in ("", "tests/fixtures"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED_REFEREE],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    group, folder = done.stdout.split()
    group = int(group)
    try:
        assert wait_until(lambda: group_of(group) == [], timeout_s=2)
        assert Path(folder).parent == tmp_path
        assert wait_until(lambda: not Path(folder).exists())
    finally:
        sandbox.kill_group(group)


def test_nothing_outlives_a_server_that_was_killed(tmp_path_factory, start):
    """The referee ends what the workers of a lost server started."""
    lost = with_limits(tmp_path_factory.mktemp("lost"), Settings(None))
    crew = start(lost, doing("subprocess.Popen(['sleep', '60'])"))
    finish(crew)
    group = crew.workers[0]._process_id
    lost._process.kill()
    assert wait_until(lambda: not is_running(group))
    assert group_of(group) != []
    crew.close()
    assert wait_until(lambda: group_of(group) == [])
    lost.close()
