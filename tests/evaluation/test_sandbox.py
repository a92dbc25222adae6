"""What confines a worker, seen from inside a worker and from outside after its end."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import is_running, wait_until

from tritonexp.evaluation import confinement, sandbox

SECRETS = ("ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_URI")


def run_confined(program, tmp_path, *, timeout_s=60):
    """Run a program in a fresh process that confined itself to a folder first."""
    folder = tmp_path / "folder"
    folder.mkdir()
    start = (
        "import pathlib, sys\n"
        "from tritonexp.evaluation import sandbox\n"
        "sandbox.confine(pathlib.Path(sys.argv[1]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", start + program, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def test_environment_holds_nothing_that_is_not_named(monkeypatch, tmp_path):
    """Keys and tokens stay with the parent, and so does whatever else it has."""
    parent = dict.fromkeys((*os.environ, *SECRETS, "SOMETHING_NEW", "CUDA_HOME"), "of the parent")
    monkeypatch.setattr(os, "environ", parent)
    found = sandbox.environment(tmp_path, interpret=False)
    taken = {name for name, value in found.items() if value == "of the parent"}
    assert taken <= set(sandbox.PASSED_ON)
    assert "CUDA_HOME" in taken
    assert found["HOME"] == found["TMPDIR"] == str(tmp_path)


@pytest.mark.parametrize("interpret", [True, False])
def test_interpreter_is_chosen_by_the_referee(monkeypatch, tmp_path, interpret):
    """The parent's own TRITON_INTERPRET does not reach a worker."""
    monkeypatch.setenv("TRITON_INTERPRET", "0" if interpret else "1")
    found = sandbox.environment(tmp_path, interpret=interpret)
    assert found.get("TRITON_INTERPRET") == ("1" if interpret else None)


def test_confined_process_leads_its_own_group_in_its_folder(tmp_path):
    """It starts in its folder, home and caches are its own, and its group is no other's."""
    done = run_confined(
        "import os\n"
        "print(os.getcwd(), os.getpgrp() == os.getsid(0) == os.getpid(), sep='\\n')\n"
        "for name in ('HOME', 'TMPDIR', 'TRITON_CACHE_DIR', 'TORCHINDUCTOR_CACHE_DIR'):\n"
        "    print(os.environ[name])\n",
        tmp_path,
    )
    folder, leads, home, temporary, *caches = done.stdout.splitlines()
    assert folder == home == temporary == str(tmp_path / "folder")
    assert leads == "True"
    assert all(cache.startswith(f"{folder}/") for cache in caches)


def test_limits_are_set_and_cannot_be_raised(tmp_path):
    """Core dumps, file size, open files and processor time are bounded, soft and hard."""
    done = run_confined(
        "import resource\n"
        "for kind in ('CORE', 'FSIZE', 'NOFILE', 'CPU'):\n"
        "    print(kind, *resource.getrlimit(getattr(resource, f'RLIMIT_{kind}')))\n",
        tmp_path,
    )
    found = {
        name: (int(soft), int(hard))
        for name, soft, hard in map(str.split, done.stdout.splitlines())
    }
    wanted = {
        "CORE": 0,
        "FSIZE": sandbox.MAX_FILE_BYTES,
        "NOFILE": sandbox.MAX_OPEN_FILES,
        "CPU": sandbox.MAX_CPU_S,
    }
    assert set(found) == set(wanted)
    for name, most in wanted.items():
        soft, hard = found[name]
        own = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
        expected = most if own == resource.RLIM_INFINITY else min(most, own)
        assert soft == hard == expected, name


def test_file_over_the_limit_cannot_be_written(tmp_path):
    """A worker that fills the disk is stopped at the limit."""
    done = run_confined(
        "import os\n"
        "file = os.open('big', os.O_WRONLY | os.O_CREAT)\n"
        "os.lseek(file, sandbox.MAX_FILE_BYTES, os.SEEK_SET)\n"
        "os.write(file, b'x')\n",
        tmp_path,
    )
    assert done.returncode != 0
    # a file of that length is all hole: nothing was written
    assert (tmp_path / "folder" / "big").stat().st_blocks == 0


def test_process_over_its_processor_time_is_ended(tmp_path):
    """The limit on processor time ends a process that spins."""
    program = (
        "import pathlib, sys\n"
        "from tritonexp.evaluation import sandbox\n"
        "sandbox.MAX_CPU_S = 1\n"
        "sandbox.confine(pathlib.Path(sys.argv[1]))\n"
        "while True: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=60)
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_killing_the_group_takes_grandchildren_along():
    """What a worker started goes with it, however deep."""
    program = (
        "import os, subprocess, sys, time\n"
        "os.setsid()\n"
        "child = subprocess.Popen([sys.executable, '-c', "
        '\'import subprocess, time; p = subprocess.Popen(["sleep", "300"]);'
        " print(p.pid, flush=True); time.sleep(300)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    below = [int(process.stdout.readline()) for _ in range(2)]
    assert all(is_running(item) for item in below)
    sandbox.kill_group(process.pid)
    assert process.wait(10) == -signal.SIGKILL
    assert wait_until(lambda: not any(map(is_running, below)))
    process.stdout.close()


def test_killing_a_group_that_is_gone_is_no_error():
    """A worker that ended by itself can still be killed."""
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait(30)
    sandbox.kill_group(process.pid)


def test_process_dies_with_its_parent():
    """A worker whose parent is killed does not stay behind."""
    program = (
        "import os, sys, time\n"
        "from tritonexp.evaluation import sandbox\n"
        "if os.fork() == 0:\n"
        "    sandbox.die_with_parent()\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(300)\n"
        "time.sleep(300)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    assert is_running(child)
    process.kill()
    process.wait(10)
    assert wait_until(lambda: not is_running(child))
    process.stdout.close()


def test_threads_are_told_apart_from_the_one_that_serves():
    """What an idle one ran stays as it is, what a busy one ran grows, and the first is not told."""
    program = (
        "import threading, time\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def work():\n"
        "    while True: sum(range(1000))\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            before_us = sandbox.threads_us(child.pid)
            assert child.pid not in before_us
            assert len(before_us) == 2
            idle, busy = sorted(before_us)
            assert wait_until(lambda: sandbox.threads_us(child.pid)[busy] > before_us[busy] + 1_000)
            assert sandbox.threads_us(child.pid)[idle] <= before_us[idle] + 1_000
            assert sandbox.threads_run(child.pid)
        finally:
            child.kill()
    assert sandbox.threads_us(child.pid) == {}


def test_threads_that_wait_do_not_run():
    """Neither one that sleeps nor the first, whatever that does."""
    program = (
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(flush=True)\n"
        "while True: pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            # it asks for the interpreter's lock, until it waits
            assert wait_until(lambda: not sandbox.threads_run(child.pid))
        finally:
            child.kill()
    assert not sandbox.threads_run(child.pid)


def stand_in_for(text):
    """Reads a text, or finds no file."""

    def read_text(path):
        assert path == Path("/proc/self/schedstat")
        if text is None:
            raise FileNotFoundError(path)
        return text

    return read_text


def test_kernel_tells_of_threads_or_the_record_says_that_it_does_not(monkeypatch):
    """A check that cannot run is not passed in silence."""
    assert sandbox.tells_of_threads()
    with monkeypatch.context() as patched:
        for text in ("0 0 0\n", None):
            patched.setattr(sandbox.Path, "read_text", stand_in_for(text))
            assert not sandbox.tells_of_threads()
    assert "threads" not in confinement.description()
    monkeypatch.setattr(sandbox, "tells_of_threads", lambda: False)
    assert confinement.description().endswith("; this kernel does not tell how long threads ran")
