"""The lease of a GPU: one holder among processes, threads and users, and none that outlives it.

Other processes are real ones. What a GPU adds, which is only its UUID, is left out.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from processes import is_running, open_descriptors, wait_until

from tritonexp.errors import ConfigError, LeaseError
from tritonexp.evaluation import lease

UUID = "0f3c5d1e-0000-4000-8000-00000000abcd"
ROOT = Path(__file__).resolve().parents[2]

# holds the lease until its standard input is closed
HOLD = f"""
import sys
from tritonexp.evaluation.lease import leased
with leased({UUID!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
# takes the lease if it is free
TRY = f"""
from tritonexp.errors import LeaseError
from tritonexp.evaluation.lease import leased
try:
    with leased({UUID!r}, wait_s=0):
        print("held")
except LeaseError as error:
    print(error)
"""

# put before it, as root: another user, who may not import what root may
AS_NOBODY = """
import os
import tritonexp.evaluation.lease
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of leases for this test alone, for other processes too."""
    monkeypatch.setenv("TRITONEXP_LEASES", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def shared(folder, monkeypatch):
    """A folder of leases that other users can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as reached:
        monkeypatch.setenv("TRITONEXP_LEASES", reached)
        yield Path(reached)


@pytest.fixture
def path(folder):
    """The file of the GPU's lease."""
    return folder / f"tritonexp-gpu-{UUID}.lease"


@pytest.fixture
def start(folder):
    """Starts processes that run a piece of code, and ends them after the test."""
    started = []

    def run(code, *arguments, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        # its way out closes the pipes and waits
        with process:
            process.kill()


@pytest.fixture
def holder(start):
    """Another process that holds the lease."""
    process = start(HOLD, "-m", "model=opus")
    assert process.stdout.readline() == "held\n"
    return process


def attempt(code=TRY):
    """What another process says that tries to take the lease without waiting."""
    return subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def taken(wait_s=0.0):
    """Whether this process can take the lease."""
    try:
        with lease.leased(UUID, wait_s=wait_s):
            return True
    except LeaseError:
        return False


def test_a_lease_excludes_another_process(folder):
    """While one process measures, another cannot; afterwards it can."""
    with lease.leased(UUID):
        assert "is held by" in attempt()
    assert attempt() == "held"


def test_gpus_are_leased_each_for_itself(holder):
    """One GPU's lease is no other's."""
    assert not taken()
    with lease.leased("GPU-11111111-0000-4000-8000-000000000000", wait_s=0):
        pass


def test_the_uuid_is_one_with_and_without_its_prefix(folder):
    """CUDA's and NVML's way of writing a UUID name the same lease."""
    with lease.leased(f"GPU-{UUID.upper()}"):
        assert "is held by" in attempt()


def test_a_killed_holder_has_no_lease(holder):
    """SIGKILL leaves no lease behind, whatever the file still says."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert taken()


def test_a_waiter_gets_the_lease_when_it_is_free(holder):
    """Who waits goes on as soon as the holder has ended."""
    told = []

    def end_holder(message):
        told.append(message)
        holder.stdin.close()

    begin = time.monotonic()
    with lease.leased(UUID, wait_s=30, progress=end_holder):
        assert "is held by" in attempt()
    assert time.monotonic() - begin < 15
    assert len(told) == 1


def test_waiting_ends_at_its_limit(holder):
    """After wait_s the error says who holds it, for how long was waited, and what to do."""
    begin = time.monotonic()
    with (
        pytest.raises(LeaseError, match=r"0\.4 s were allowed") as caught,
        lease.leased(UUID, wait_s=0.4),
    ):
        pass
    assert 0.4 <= time.monotonic() - begin < 5
    assert f"process {holder.pid} " in str(caught.value)
    assert "CUDA_VISIBLE_DEVICES" in str(caught.value)


def test_no_time_to_wait_is_no_wait(holder):
    """wait_s=0 gives up at once and tells nobody that it waits."""
    told = []
    with pytest.raises(LeaseError), lease.leased(UUID, wait_s=0, progress=told.append):
        pass
    assert told == []


@pytest.mark.parametrize("wait_s", [-1.0, float("nan")])
def test_a_limit_that_is_no_time_is_refused(folder, wait_s):
    """A negative limit, or none that can be compared, is a mistake of the caller's."""
    with pytest.raises(ConfigError, match="wait_s"), lease.leased(UUID, wait_s=wait_s):
        pass


@pytest.mark.parametrize("uuid", ["", "../../etc/passwd", "GPU-", "a/b", "a" * 65])
def test_what_is_no_uuid_names_no_file(folder, uuid):
    """Nothing but a UUID gets into the file's name."""
    with pytest.raises(ConfigError, match="UUID"), lease.leased(uuid, wait_s=0):
        pass
    assert list(folder.iterdir()) == []


def test_a_waiter_is_told_who_holds_it_once_and_then_seldom(holder, monkeypatch):
    """The first word comes at once, the next after TELL_S; many tries lie between."""
    monkeypatch.setattr(lease, "POLL_S", 0.01)
    monkeypatch.setattr(lease, "TELL_S", 0.4)
    told = []
    with pytest.raises(LeaseError), lease.leased(UUID, wait_s=0.6, progress=told.append):
        pass
    assert len(told) == 2
    assert f"process {holder.pid} (-c -m model=opus) since 20" in told[0]
    assert "by its own account" in told[0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON",
        b"[1, 2]",
        b"\xff\xfe\x00",
        b'{"pid": 1}',
        b"[" * 5000,
        b"\n" * 100_000,
    ],
)
def test_a_holder_may_write_anything(holder, path, text):
    """What the file says is not believed: nonsense there is a holder without a name."""
    path.write_bytes(text)
    with pytest.raises(LeaseError, match=lease.UNKNOWN), lease.leased(UUID, wait_s=0):
        pass


def test_a_holder_cannot_write_to_the_terminal(holder, path):
    """Control characters and endless text of a lease file do not get into a message."""
    said = {"pid": 7, "command": "\x1b[2J\u202e\nx", "since": "y" * 900}
    path.write_text(json.dumps(said))
    with pytest.raises(LeaseError) as caught, lease.leased(UUID, wait_s=0):
        pass
    assert "process 7 (?[2J??x) since yyy" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_a_long_command_is_told_in_short(folder, monkeypatch):
    """Whatever the command line is, it is read back, and cut."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/run.py", "\U0001f600" * 500, "\udc80"])
    with lease.leased(UUID):
        assert f"held by process {os.getpid()} (run.py '\U0001f600" in lease.describe(UUID)


def test_a_lease_that_was_given_back_names_nobody(folder, path):
    """The file stays for the next one, and is empty."""
    with lease.leased(UUID):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""


def test_a_failure_within_gives_the_lease_back(folder):
    """An exception within the block ends the lease like any way out."""
    with pytest.raises(KeyError), lease.leased(UUID):
        raise KeyError
    assert attempt() == "held"


def test_the_same_thread_may_take_it_again(folder):
    """Two referees of one thread do not wait for each other, and the last gives it back."""
    first, second = lease.leased(UUID), lease.leased(UUID, wait_s=0)
    first.__enter__()
    second.__enter__()
    # not in the order of blocks, as two referees may end
    first.__exit__(None, None, None)
    assert "is held by" in attempt()
    second.__exit__(None, None, None)
    assert attempt() == "held"


def test_another_thread_waits(folder):
    """Two threads measure one after the other, without a deadlock."""
    at_once, most = 0, 0
    lock = threading.Lock()

    def measure():
        nonlocal at_once, most
        with lease.leased(UUID, wait_s=30):
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.05)
            with lock:
                at_once -= 1

    threads = [threading.Thread(target=measure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 1
    assert not any(thread.is_alive() for thread in threads)


def test_another_thread_that_does_not_wait_is_told_of_the_first(folder):
    """A thread that must not wait gets an error and not a second measurement."""
    found = []

    def take():
        try:
            with lease.leased(UUID, wait_s=0):
                found.append("held")
        except LeaseError as error:
            found.append(str(error))

    with lease.leased(UUID):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(10)
    assert "another thread of this process" in found[0]


def test_a_holder_that_comes_back_at_once_is_behind_who_waits(start):
    """A process that takes the lease again and again lets another in."""
    again = f"""
import time
from tritonexp.evaluation.lease import leased
print("begins", flush=True)
for _ in range(2000):
    with leased({UUID!r}):
        time.sleep(0.01)
"""
    busy = start(again)
    busy.stdout.readline()
    for _ in range(3):
        with lease.leased(UUID, wait_s=3):
            pass
    assert busy.poll() is None


TRY_SHARED = TRY.replace("wait_s=0", "wait_s=0, shared=True")


def test_a_shared_lease_is_shared_and_keeps_out_who_would_be_alone(folder):
    """Several may share it; meanwhile nobody has it alone, and who has it alone shares nothing."""
    with lease.leased(UUID, shared=True):
        assert attempt(TRY_SHARED) == "held"
        assert "is held by" in attempt()
    with lease.leased(UUID):
        assert "is held by" in attempt(TRY_SHARED)
    assert attempt() == "held"


def test_who_waits_to_be_alone_is_before_those_who_come_to_share(start):
    """Sharers that follow each other without a gap do not keep another out for ever."""
    code = f"""
import sys, time
from tritonexp.evaluation.lease import leased
print("begins", flush=True)
for _ in range(2000):
    with leased({UUID!r}, shared=True):
        time.sleep(0.02)
"""
    sharers = [start(code) for _ in range(3)]
    for sharer in sharers:
        sharer.stdout.readline()
    with lease.leased(UUID, wait_s=5):
        assert "is held by" in attempt(TRY_SHARED)
    assert [sharer.poll() for sharer in sharers] == [None] * 3


def test_who_shares_it_cannot_have_it_alone_as_well(folder):
    """Two who tried would wait for each other for ever; the lease is given back after that."""
    with lease.leased(UUID, shared=True):
        with lease.leased(UUID, shared=True):
            pass
        with pytest.raises(LeaseError, match="cannot have it alone"), lease.leased(UUID):
            pass
        assert "is held by" in attempt()
    assert attempt() == "held"
    with lease.leased(UUID), lease.leased(UUID, shared=True):
        # who has it alone may share it with itself
        assert "is held by" in attempt(TRY_SHARED)


def test_the_first_of_those_who_share_it_leaves_the_others_name(folder, path, start):
    """Who is still there is told of, though somebody else has left."""
    with lease.leased(UUID, shared=True):
        other = start(HOLD.replace("leased(", "leased(shared=True, gpu_uuid="))
        assert other.stdout.readline() == "held\n"
    assert f"process {other.pid}" in attempt()


def test_a_started_process_does_not_keep_the_lease(start):
    """What the holder has started by exec outlives it without the lease."""
    code = HOLD.replace(
        "    sys.stdin.read()",
        "    import subprocess\n"
        "    child = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=2)\n"
        "    print(child.pid, flush=True)\n"
        "    sys.stdin.read()",
    )
    process = start(code)
    assert process.stdout.readline() == "held\n"
    child = int(process.stdout.readline())
    assert not taken()
    process.kill()
    process.wait()
    try:
        assert is_running(child)
        assert taken()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_does_not_keep_the_lease(start):
    """What the holder has forked outlives it without the lease."""
    code = HOLD.replace(
        "    sys.stdin.read()",
        "    import os, time\n"
        "    told, tell = os.pipe()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.close(1)\n"
        "        os.write(tell, b'forked')\n"
        "        time.sleep(60)\n"
        # what a fork has it do is done before it goes on
        "    os.read(told, 6)\n"
        "    print(child, flush=True)\n"
        "    sys.stdin.read()",
    )
    process = start(code)
    assert process.stdout.readline() == "held\n"
    child = int(process.stdout.readline())
    assert not taken()
    process.kill()
    process.wait()
    try:
        assert is_running(child)
        assert taken()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_block_leaves_the_lease(start):
    """A child that runs out of its parent's block takes nothing with it, and has to ask anew."""
    code = f"""
import os, sys
from tritonexp.errors import LeaseError
from tritonexp.evaluation.lease import leased
child = None
with leased({UUID!r}):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print("still held", flush=True)
        sys.stdin.read()
try:
    with leased({UUID!r}, wait_s=0):
        print("free", flush=True)
except LeaseError:
    print("not free", flush=True)
"""
    process = start(code)
    assert process.stdout.readline() == "not free\n"
    assert process.stdout.readline() == "still held\n"
    assert not taken()


def test_a_fork_meanwhile_leaves_nothing_open(folder):
    """A child that is forked while other threads take leases has no file of a lease."""
    code = f"""
import os, threading
from pathlib import Path
from tritonexp.evaluation.lease import leased
done = threading.Event()
def take(uuid):
    while not done.is_set():
        with leased(uuid):
            pass
threads = [threading.Thread(target=take, args=(f"{{n}}-{UUID}"[:64],)) for n in range(3)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(100):
    child = os.fork()
    if not child:
        found = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()
                 and os.path.exists(one)]
        os._exit(any("tritonexp-gpu" in one for one in found))
    bad += os.waitpid(child, 0)[1] != 0
done.set()
for thread in threads:
    thread.join()
print(bad)
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.stdout, result.stderr) == ("0\n", "")


def test_a_planted_link_is_not_followed(folder, path):
    """A link in the place of the file is neither followed nor overwritten."""
    victim = folder / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(LeaseError, match="plain file"), lease.leased(UUID):
        pass
    assert victim.read_text() == "precious"


def test_a_planted_dangling_link_makes_no_file(folder, path):
    """A link to nothing does not make its target."""
    path.symlink_to(folder / "absent")
    with pytest.raises(LeaseError), lease.leased(UUID):
        pass
    assert not (folder / "absent").exists()


def test_a_planted_second_name_is_not_overwritten(folder, path):
    """A hard link to somebody's file is refused before anything is written to it."""
    victim = folder / "victim"
    victim.write_text("precious")
    path.hardlink_to(victim)
    with pytest.raises(LeaseError, match="second name"), lease.leased(UUID):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_planted_pipe_or_folder_is_an_error(folder, path, make):
    """What is no plain file neither blocks nor passes for a lease."""
    make(path)
    with pytest.raises(LeaseError, match="no lease of the GPU can be had"), lease.leased(UUID):
        pass


@pytest.mark.parametrize("place", ["absent", "a_file"])
def test_a_folder_that_cannot_be_used_is_an_error(folder, monkeypatch, place):
    """Where no lease can be had, nothing runs without one."""
    (folder / "a_file").touch()
    monkeypatch.setenv("TRITONEXP_LEASES", str(folder / place))
    ran = False
    with pytest.raises(LeaseError, match="TRITONEXP_LEASES"), lease.leased(UUID):
        ran = True
    assert not ran
    with pytest.raises(LeaseError, match="TRITONEXP_LEASES"):
        lease.describe(UUID)


def test_a_folder_that_cannot_be_written_is_an_error(shared):
    """A folder without the right to make a file in it gives no lease."""
    shared.chmod(0o555)
    assert "no lease of the GPU can be had" in attempt(AS_NOBODY + TRY)


def test_a_file_system_without_locks_is_an_error(folder, monkeypatch):
    """Where flock does not work, nothing runs without a lease, and nothing stays open."""

    def flock(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lease.fcntl, "flock", flock)
    before = open_descriptors()
    with pytest.raises(LeaseError, match="Function not implemented"), lease.leased(UUID):
        pass
    assert open_descriptors() == before


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_lock_on_a_removed_file_is_no_lease(folder, path, monkeypatch, is_replaced):
    """A file that is removed between its opening and its locking is opened anew."""
    flock, removed = lease.fcntl.flock, []

    def late(descriptor, operation):
        if path.exists() and not removed:
            removed.append(path)
            path.unlink()
            if is_replaced:
                path.touch()
        flock(descriptor, operation)

    monkeypatch.setattr(lease.fcntl, "flock", late)
    with lease.leased(UUID, wait_s=10):
        assert removed
        assert "is held by" in attempt()


def test_all_users_may_use_a_lease_file(folder, path):
    """A file can be read and written by others, whatever the umask of who made it."""
    before = os.umask(0o077)
    try:
        assert taken()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666


def test_a_file_that_is_there_is_not_opened_to_be_made(folder, path, monkeypatch):
    """Where fs.protected_regular is on, O_CREAT is refused for another user's file in /tmp."""
    assert taken()
    ways = []
    open_file = lease.os.open

    def watched(name, flags, *mode):
        ways.append(flags)
        return open_file(name, flags, *mode)

    monkeypatch.setattr(lease.os, "open", watched)
    assert taken()
    assert ways
    assert not any(flags & os.O_CREAT for flags in ways)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_waits_too(shared):
    """In a sticky folder, one user's lease excludes another's process, whoever made the file."""
    shared.chmod(0o1777)
    assert attempt(AS_NOBODY + TRY) == "held"
    with lease.leased(UUID, wait_s=0):
        assert f"is held by process {os.getpid()} " in attempt(AS_NOBODY + TRY)
    assert attempt(AS_NOBODY + TRY) == "held"


def test_describing_takes_no_lease(folder, path):
    """It says whether the lease is free, and who has it; afterwards it is as before."""
    assert lease.describe(UUID) == f"free: {path}"
    with lease.leased(UUID):
        assert f"held by process {os.getpid()} " in lease.describe(UUID)
        assert "is held by" in attempt()
    assert attempt() == "held"


def test_leases_leave_nothing_open(folder):
    """Descriptors are closed after taking, waiting in vain and describing."""
    taken()
    before = open_descriptors()
    for _ in range(3):
        taken()
        lease.describe(UUID)
    assert open_descriptors() == before


def test_the_default_folder_is_one_for_all(monkeypatch):
    """TMPDIR, which differs between users and jobs, does not part them."""
    monkeypatch.delenv("TRITONEXP_LEASES", raising=False)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert lease._path_of(UUID).parent == lease.FOLDER


def test_a_waiting_process_can_be_interrupted(holder, start):
    """An interrupt ends the waiting, and leaves the way free for others."""
    code = HOLD.replace(
        f"leased({UUID!r})", f"leased({UUID!r}, progress=lambda _: print('waits', flush=True))"
    )
    waiting = start(code, stderr=subprocess.DEVNULL)
    assert waiting.stdout.readline() == "waits\n"
    waiting.send_signal(signal.SIGINT)
    assert wait_until(lambda: waiting.poll() is not None)
    holder.stdin.close()
    assert taken(wait_s=10)
