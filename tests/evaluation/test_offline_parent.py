import textwrap
import time

import pytest
from offline_sources import KERNEL, PLAIN, SMALL, SPEC

from tritonexp.errors import ConfigError
from tritonexp.evaluation import offline
from tritonexp.records import Implementation, Provenance, Role, Status


def in_child(source, *, timeout_s=60.0, sizes=(SMALL,), hidden=()):
    """Compile an untrusted source the way the referee does."""
    implementation = Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=textwrap.dedent(source),
        entry_point="softmax",
        provenance=Provenance(origin="file", name="x", version=None, licence=None, location=None),
    )
    return offline.compile_for(implementation, SPEC, sizes, "float32", "sm_90", timeout_s, hidden)


def test_unknown_target_lists_the_known():
    """A target that has no figures is a ConfigError that lists those that have."""
    with pytest.raises(ConfigError, match=r"sm_75.*sm_80, sm_86, sm_90, sm_100"):
        offline.compile_for(None, SPEC, (), "float32", "sm_75", 1.0)


def test_child_answers_beside_garbage_and_without_keys(monkeypatch):
    """Prints on both streams do not mix with the answer, and no key of ours reaches the file."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    noise = """
import os, sys
print('{"kernels": [], "error": null}', flush=True)
os.write(1, b'{"kernels": [')
sys.__stdout__.write("}" * 100_000)
assert "secret" not in os.environ.values(), "a key is visible"
assert os.environ["HOME"] == os.getcwd() != os.path.expanduser("~root")
"""
    kernels, error = in_child(noise + KERNEL + PLAIN)
    assert error is None
    assert [(kernel.name, kernel.fits) for kernel in kernels] == [("softmax_kernel", True)]


def test_torch_work_beside_the_kernel_is_no_obstacle():
    """Reductions and the like, for which torch loads more of itself, run without a GPU too."""
    host = PLAIN.replace(
        "    n_rows, n_cols",
        "    x = x - x.max(dim=1, keepdim=True).values.clamp(min=0).sum()\n    n_rows, n_cols",
    )
    kernels, error = in_child(KERNEL + host)
    assert error is None
    assert [kernel.fits for kernel in kernels] == [True]


def test_syntax_error_names_the_place():
    """A file that cannot be parsed is a SYNTAX_ERROR, found before anything of it runs."""
    kernels, error = in_child("def softmax(x:\n    return x\n")
    assert kernels == ()
    assert error.status is Status.SYNTAX_ERROR
    assert "line 1" in error.reason


def test_exit_on_import_is_an_import_error():
    """A file that calls sys.exit(0) has not thereby passed."""
    kernels, error = in_child("import sys\nsys.exit(0)\n")
    assert kernels == ()
    assert error.status is Status.IMPORT_ERROR
    assert "sys.exit(0)" in error.reason


def test_process_that_ends_itself_has_crashed():
    """A file that ends the process leaves no answer, and its last words are in the log."""
    _, error = in_child("import os\nos.write(2, b'last words')\nos._exit(0)\n")
    assert error.status is Status.CRASHED
    assert "last words" in error.log


@pytest.mark.parametrize(
    "line",
    [
        f"open({__file__!r}).read()",
        "open('/tmp/tritonexp-written', 'w')",
        "import liger_kernel",
        "import socket; socket.socket()",
    ],
    ids=["project", "outside", "expert", "network"],
)
def test_file_is_confined_where_it_is_compiled(line):
    """It could have been honest in the interpreter, and only look around here."""
    kernels, error = in_child(f"{line}\n", hidden=("liger_kernel",))
    assert (kernels, error.status) == ((), Status.IMPORT_ERROR)
    assert "ermission" in error.log


@pytest.mark.parametrize(
    "line",
    [
        "os.mkfifo(name)",
        "os.symlink('/etc/hostname', name)",
        "pass",
    ],
    ids=["pipe", "link", "nothing"],
)
def test_folder_that_was_swept_is_a_crash(line):
    """Whatever the file puts in the place of its streams, the answer comes from none of it."""
    source = f"""
        import os
        for name in set(os.listdir()) | {{"stdout.txt", "stderr.txt"}}:
            if os.path.isfile(name):
                os.unlink(name)
                {line}
        os._exit(0)
    """
    kernels, error = in_child(source)
    assert (kernels, error.status, error.log) == ((), Status.CRASHED, "")


def test_deep_folders_are_removed():
    """Folders nested deeper than Python goes are no error of ours."""
    source = """
        import os
        for _ in range(2000):
            os.mkdir("x")
            os.chdir("x")
        os._exit(0)
    """
    assert in_child(source)[1].status is Status.CRASHED


def test_sandbox_can_be_left_out():
    """What is refused above is let through where the user says so."""
    _, error = in_child(f"open({__file__!r}).read()\n", hidden=None)
    assert "softmax" in error.reason


def test_timeout_kills_endless_loop_and_its_children():
    """At the time limit the whole process group is gone, also a child that the file started."""
    source = """
        import os, subprocess
        child = subprocess.Popen(["sleep", "300"])
        os.write(2, f"pids {os.getpid()} {child.pid} end".encode())
        while True:
            pass
    """
    start = time.monotonic()
    kernels, error = in_child(source, timeout_s=8.0)
    assert time.monotonic() - start < 60
    assert (kernels, error.status) == ((), Status.TIMEOUT)
    assert "8 s" in error.reason
    pids = error.log.partition("pids ")[2].partition(" end")[0].split()
    assert len(pids) == 2
    for pid in map(int, pids):
        assert is_gone(pid), f"process {pid} is still running"


def is_gone(pid, patience_s=10.0):
    """Whether a process has ended, or is only waiting to be reaped by whoever inherited it."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
