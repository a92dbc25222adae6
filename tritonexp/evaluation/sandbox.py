"""What holds with sandbox=off too: a worker's environment, limits, folder and process group.

A worker is a process group of its own that is killed whole, sees a scrubbed environment, and has
limits on processor time, file size, open files and core dumps. What closes the file system and the
network to it is in confinement.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

# the only variables that a worker sees: what the loader, CUDA and the locale need
PASSED_ON = (
    "CUDA_DEVICE_ORDER",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VISIBLE_DEVICES",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "VIRTUAL_ENV",
)

MAX_FILE_BYTES = 256 << 20
MAX_OPEN_FILES = 1024
MAX_CPU_S = 600
LOG_BYTES = 64 << 10

DESCRIPTION_OF_OFF = "off: process group, scrubbed environment, resource limits"

_PR_SET_PDEATHSIG = 1


def environment(home: Path, *, interpret: bool) -> dict[str, str]:
    """A worker's environment: nothing that is not named here, so no key and no token."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    kept |= {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        # asks the driver's monitor instead of CUDA, which must not be initialised before a fork
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": _python_path(),
        "OMP_NUM_THREADS": str(min(4, os.cpu_count() or 1)),
    }
    if interpret:
        kept["TRITON_INTERPRET"] = "1"
        # where there is a GPU, host code that asks for it must not find it
        kept["CUDA_VISIBLE_DEVICES"] = ""
    return kept


def _python_path() -> str:
    # whoever is started must find this package however the referee did
    ours = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([ours, *(part for part in inherited if part)])


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def confine(folder: Path) -> None:
    """Confine the calling process, a fresh fork, to a folder, a process group and limits."""
    os.setsid()
    die_with_parent()
    os.chdir(folder)
    # looked up before in the server's own folder
    tempfile.tempdir = None
    for name, value in (
        ("HOME", folder),
        ("TMPDIR", folder),
        ("TRITON_CACHE_DIR", folder / "triton"),
        ("TORCHINDUCTOR_CACHE_DIR", folder / "inductor"),
        ("XDG_CACHE_HOME", folder / "cache"),
    ):
        os.environ[name] = str(value)
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CPU, MAX_CPU_S),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (allowed, allowed))


def remove(folder: Path) -> None:
    """Remove a folder that a worker may have filled with what is hard to remove."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # nested deeper than Python goes, or closed to its owner
        for command in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
            subprocess.run(  # noqa: S603 - the system's own tools, on a folder of ours
                [*command, "--", str(folder)], check=False, stderr=subprocess.DEVNULL
            )


def kill_group(process_id: int) -> None:
    """Kill a worker with everything that it started and that stayed in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)


def processor_s(process_id: int) -> float:
    """Seconds of processor time that a process has used of its MAX_CPU_S; all where it is gone."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return math.inf
    # the name is in brackets and may hold anything; the 14th and 15th field count clock ticks
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def threads_us(process_id: int) -> dict[int, float]:
    """Microseconds that each thread of a process but its first has run.

    Empty where the process is gone, and where the kernel does not tell.
    """
    found = {}
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            if thread.name != str(process_id):
                # it may have ended
                with contextlib.suppress(OSError):
                    nanoseconds = (thread / "schedstat").read_bytes().split()[0]
                    found[int(thread.name)] = int(nanoseconds) / 1e3
    return found


def threads_run(process_id: int) -> bool:
    """Whether a thread of a process but its first runs, or waits for a core to run on."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process_id}/task").iterdir():
            if thread.name != str(process_id):
                # it may have ended
                with contextlib.suppress(OSError):
                    # the name is in brackets and may hold anything
                    stat = (thread / "stat").read_bytes()
                    if stat.rpartition(b")")[2].split()[0] == b"R":
                        return True
    return False


def tells_of_threads() -> bool:
    """Whether the kernel tells how long threads have run."""
    with contextlib.suppress(OSError):
        # the last counts how often it ran; where nothing is counted, all are 0
        return Path("/proc/self/schedstat").read_text().split()[-1] != "0"
    return False


def watch(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for a process that leads its group, then kill what is left of that; whether in time."""
    descriptor = os.pidfd_open(child.pid)
    try:
        # set from here, because a function between fork and exec is not safe beside threads
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
            resource.prlimit(child.pid, resource.RLIMIT_CORE, (0, 0))
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        in_time = bool(poll.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)
        # before it is reaped, so that the group's number cannot be another's
        kill_group(child.pid)
        child.wait()
    return in_time
