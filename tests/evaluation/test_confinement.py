"""The walls, tried from inside a confined process; what it tries works in one that is free.

Covers what a process can ask the kernel for by name. Does not cover the GPU's driver, nor bugs of
the kernel.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from importlib.util import find_spec
from pathlib import Path

import landlockpy
import pytest
import seccompy

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import confinement, sandbox
from tritonexp.evaluation.confinement import Confinement

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tritonexp"
EXPERT = "liger_kernel"
SECRET = ctypes.create_string_buffer(b"hunter2")
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.process_vm_readv.restype = ctypes.c_ssize_t
FS_IOC_SETFLAGS = 0x4008_6602
CLONE_NEWUSER = 0x1000_0000
PR_SET_PTRACER = 0x5961_6D61
PTRACE_SEIZE = 0x4206
# what every program ignores that does not ask for it
SIGNAL = signal.SIGURG
TEMPORARY = (tempfile.gettempdir(), "/var/tmp")  # noqa: S108 - to be closed
REFUSALS = {"EPERM", "EACCES", "EXDEV", "ENOSYS"}
DONE = "done"
ABI_OF_ALL_THREADS = 8


# --- processes ---


def in_fork(work):
    """What `work` returns in a forked process, as plain data; raises what it raises."""
    reading, writing = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            os.close(reading)
            signal.alarm(120)
            try:
                answer = {"value": work()}
            except BaseException:  # noqa: BLE001 - told to the parent, whatever it is
                answer = {"error": traceback.format_exc()}
            with os.fdopen(writing, "w") as file:
                json.dump(answer, file)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    _, status = os.waitpid(process_id, 0)
    assert status == 0, f"the forked process ended with status {status}"
    answer = json.loads(text)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def outcomes(attempts):
    """What each attempt comes to, by its name: done, or the name of the error."""
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = DONE
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno, str(error))
    return found


def checked(result):
    """The result of a call of the C library's; raises OSError with its errno."""
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def system_call(name, *arguments):
    """Make a system call of this machine's architecture, past the C library."""
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return checked(LIBC.syscall(seccompy.syscall_nr(name), *wide))


def read(path):
    """Read a file, or the names in a folder."""
    if Path(path).is_dir():
        return sorted(Path(path).iterdir())
    return Path(path).read_bytes()[:100]


# --- who is confined, and from whom ---


@pytest.fixture(scope="module")
def walls():
    """The walls as they stand around a candidate's worker."""
    return Confinement(PACKAGE, (EXPERT,))


@pytest.fixture
def folder(tmp_path):
    """The folder of the worker's crew."""
    made = tmp_path / "crew"
    made.mkdir()
    return made


@pytest.fixture
def confined(walls, folder):
    """Run something in a worker's process, behind the walls and after the seal."""

    def run(work, walls=walls):
        def behind():
            sandbox.confine(folder)
            walls.confine(folder)
            walls.seal(folder)
            return work()

        return in_fork(behind)

    return run


@pytest.fixture
def free(folder):
    """Run something in a process with a worker's limits and without the walls."""

    def run(work):
        def outside():
            sandbox.confine(folder)
            return work()

        return in_fork(outside)

    return run


@pytest.fixture
def home(tmp_path):
    """The user's own folder, with a key in it."""
    made = tmp_path / "home"
    made.mkdir()
    (made / "key").write_text("hunter2")
    (made / "empty").mkdir()
    (made / "program").write_text("#!/bin/sh\nexit 0\n")
    (made / "program").chmod(0o755)
    return made


@pytest.fixture
def library(tmp_path, monkeypatch):
    """The user's own module in a folder that Python imports from, which a worker can read."""
    made = tmp_path / "library"
    made.mkdir()
    (made / "module.py").write_text("WORD = 'of the library'\n")
    monkeypatch.syspath_prepend(str(made))
    return made


@pytest.fixture
def bystander():
    """A process of the same user, as a worker of another crew is; tells of each signal."""
    reading, writing = os.pipe()
    ready, go = os.pipe()
    process_id = os.fork()
    if process_id == 0:
        try:
            os.setsid()
            # as a worker, and as every process of a user that is not root
            confinement._drop_capabilities()
            LIBC.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1))
            signal.signal(SIGNAL, lambda *_: os.write(writing, b"!"))
            os.close(ready)
            os.write(go, b"!")
            for _ in range(600):
                time.sleep(0.2)
        finally:
            os._exit(0)
    os.close(writing)
    os.close(go)
    os.read(ready, 1)
    os.close(ready)
    yield process_id, reading
    os.kill(process_id, signal.SIGKILL)
    os.waitpid(process_id, 0)
    os.close(reading)


def was_signalled(bystander):
    """Whether a bystander had a signal since the last look."""
    _, reading = bystander
    if not select.select([reading], [], [], 0.3)[0]:
        return False
    return bool(os.read(reading, 1000))


# --- what a worker needs ---


def test_worker_imports_torch_and_triton_in_a_fresh_interpreter(confined):
    """Python, its packages and what they load are readable, for what a worker starts too."""
    program = "import torch, triton; print(int(torch.ones(3).sum()), triton.__name__)"
    found = confined(
        lambda: (
            subprocess.run(
                [sys.executable, "-c", program], check=False, capture_output=True, text=True
            ).__dict__
        )
    )
    assert found["stdout"].split() == ["3", "triton"], found["stderr"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_worker_compiles_and_loads_a_shared_library(confined):
    """The compiler works, and what it made is loaded: triton's launchers are made so."""

    def compiled():
        Path("seven.c").write_text("#include <stdio.h>\nint seven(void) { return 7; }\n")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "seven.c", "-o", "seven.so"], check=True)
        return ctypes.CDLL(str(Path("seven.so").resolve())).seven()

    assert confined(compiled) == 7


def test_worker_runs_the_assembler_of_tritons_package(confined):
    """The assembler of PTX runs and writes what it assembled."""
    triton = Path(find_spec("triton").submodule_search_locations[0])
    (assembler,) = triton.glob("backends/nvidia/bin/ptxas")
    text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry nothing() { ret; }\n"

    def assembled():
        Path("nothing.ptx").write_text(text)
        subprocess.run([assembler, "-arch=sm_80", "nothing.ptx", "-o", "nothing.cubin"], check=True)
        return Path("nothing.cubin").read_bytes()[:4].hex()

    assert confined(assembled) == b"\x7fELF".hex()


def test_worker_does_as_it_likes_in_its_folder(confined, folder):
    """It makes, changes, renames, links and deletes files and folders of its own."""

    def busy():
        Path("sub/deep").mkdir(parents=True)
        Path("first").write_text("one")
        Path("first").rename("sub/second")
        with Path("sub/second").open("a") as file:
            file.write(" two")
            file.truncate(5)
        Path("link").symlink_to("sub/second")
        os.mkfifo("pipe")
        Path("sub/second").replace("sub/deep/third")
        Path("gone").write_text("")
        Path("gone").unlink()
        Path("link").unlink()
        with tempfile.NamedTemporaryFile() as file:
            in_folder = Path(file.name).is_relative_to(folder)
        shutil.copyfile("sub/deep/third", "copy")
        return in_folder

    assert confined(busy) is True
    assert {str(item.relative_to(folder)) for item in folder.rglob("*")} == {
        *("copy", "pipe", "sub", "sub/deep", "sub/deep/third"),
    }
    assert (folder / "copy").read_text() == "one t"


def test_worker_talks_to_what_it_started_and_ends_it(confined):
    """Pairs of sockets, pipes, memory of its own and its children are a worker's to use."""

    def own():
        one, other = socket.socketpair()
        one.send(b"word")
        process = subprocess.Popen(["sleep", "60"])
        if landlockpy.abi_version() >= confinement.ABI_OF_SIGNAL_SCOPE:
            process.terminate()
        else:
            os.close(os.memfd_create("own"))
            return other.recv(9).decode()
        process.wait(10)
        assert process.returncode == -signal.SIGTERM
        os.close(os.memfd_create("own"))
        return other.recv(9).decode()

    assert confined(own) == "word"


# --- files ---


def test_project_is_closed_but_for_the_package(monkeypatch, confined):
    """No expert, house kernel, recording, evaluation or spec, no run, no history, no test."""
    paths = [
        path
        for pattern in (
            "kernels/*/experts.py",
            "kernels/*/house.py",
            "kernels/*/spec.py",
            "kernels/*/recorded/**/*",
            "kernels/*/evaluations/**/*",
            "mlruns/*",
            ".git/*",
            "tests/redteam/*",
        )
        for path in sorted(ROOT.glob(pattern))[:3]
    ]
    places = [ROOT, ROOT / "kernels", *paths]
    assert len(places) > 8
    # as pytest adds folders of tests for some of its runs
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    monkeypatch.syspath_prepend(str(ROOT / "kernels" / "softmax"))
    for path in places:
        read(path)
    walls = Confinement(PACKAGE, (EXPERT,))
    attempts = {str(path): lambda path=path: read(path) for path in places}
    found = confined(lambda: outcomes(attempts), walls)
    assert set(found.values()) == {"EACCES"}, found
    assert confined(lambda: outcomes({"package": lambda: read(PACKAGE / "errors.py")})) == {
        "package": DONE
    }


@pytest.mark.parametrize("part", [".", "kernels", "kernels/softmax", ".git"])
def test_project_that_is_imported_from_is_closed(monkeypatch, tmp_path, confined, part):
    """A project on Python's own path shows its package alone, whatever of it is there."""
    project = made_project(tmp_path / "project")
    monkeypatch.syspath_prepend(str(project / part))
    assert read_in_project(confined, project) == {
        "tritonexp/__init__.py": DONE,
        **dict.fromkeys(INSIDE, "EACCES"),
    }


INSIDE = ("kernels/softmax/experts.py", "mlruns/mlflow.db", ".git/HEAD", "key")


def made_project(project):
    """A project with everything that must not be read, and a package."""
    for name in ("tritonexp/__init__.py", *INSIDE):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("hunter2\n")
    return project


def read_in_project(confined, project):
    """What reading each file of a project comes to."""
    walls = Confinement(project / "tritonexp", ())
    names = ("tritonexp/__init__.py", *INSIDE)
    return confined(
        lambda: outcomes({name: lambda name=name: read(project / name) for name in names}), walls
    )


@pytest.mark.parametrize("way", ["import path", "PATH", "system folder"])
def test_project_in_a_readable_folder_is_closed(monkeypatch, tmp_path, confined, way):
    """Nothing of a project is shown by a folder above it, such as /usr/src in a container."""
    above = tmp_path / "usr"
    project = made_project(above / "src" / "project")
    if way == "import path":
        monkeypatch.syspath_prepend(str(above))
    elif way == "PATH":
        monkeypatch.setenv("PATH", f"{above}{os.pathsep}{os.environ['PATH']}")
    else:
        monkeypatch.setattr(confinement, "SYSTEM", (*confinement.SYSTEM, str(above)))
    found = read_in_project(confined, project)
    assert found.pop("tritonexp/__init__.py") == DONE
    assert set(found.values()) == {"EACCES"}, found


def test_hidden_package_is_closed_and_those_beside_it_are_not(confined, free):
    """The expert's package cannot be read or imported; torch, beside it, can."""
    (expert,) = find_spec(EXPERT).submodule_search_locations
    sources = sorted(Path(expert).rglob("*.py"))[:20]
    # its folders' names may be listed: imports list the folder above, and rights go down
    attempts = {str(path): lambda path=path: read(path) for path in sources}
    assert set(free(lambda: outcomes(attempts)).values()) == {DONE}
    assert set(confined(lambda: outcomes(attempts)).values()) == {"EACCES"}
    beside = Path(find_spec("triton").origin)
    assert beside.parent.parent == Path(expert).parent
    assert confined(lambda: outcomes({"beside": lambda: read(beside)})) == {"beside": DONE}


def test_hidden_file_is_closed_and_those_beside_it_are_not(library, confined):
    """A path that is hidden, such as a tutorial's, is closed even where Python imports from."""
    hidden, beside = library / "tutorial.py", library / "module.py"
    hidden.write_text("WORD = 'of an expert'\n")
    attempts = {path.name: lambda path=path: read(path) for path in (hidden, beside)}
    walls = Confinement(PACKAGE, (str(hidden),))
    assert confined(lambda: outcomes(attempts), walls=walls) == {
        hidden.name: "EACCES",
        beside.name: DONE,
    }
    assert confined(lambda: outcomes(attempts), walls=Confinement(PACKAGE, ()))[hidden.name] == DONE


def test_hidden_module_does_not_hide_its_neighbours(monkeypatch, tmp_path, confined):
    """In one folder, one package, one module and one nested package are hidden, and no other."""
    packages = tmp_path / "site-packages"
    for name in ("expert", "neighbour", "neighbour/deep"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").write_text("WORD = 'seen'\n")
    for name in ("single", "plain"):
        (packages / f"{name}.py").write_text("WORD = 'seen'\n")
    monkeypatch.syspath_prepend(str(packages))
    walls = Confinement(PACKAGE, ("expert.sub.module", "single", "no_such_module"))

    def imported():
        found = {}
        for name in ("expert", "single", "plain", "neighbour", "neighbour.deep"):
            try:
                found[name] = __import__(name, fromlist=["WORD"]).WORD
            except (ImportError, PermissionError) as error:
                found[name] = type(error).__name__
        return found

    assert confined(imported, walls) == {
        "expert": "PermissionError",
        "single": "PermissionError",
        "plain": "seen",
        "neighbour": "seen",
        "neighbour.deep": "seen",
    }


def test_file_of_the_user_cannot_be_read(confined, free, home):
    """Not by its path, by a link, by a descriptor that names it, by running it, nor by listing."""
    (home / "../way").symlink_to(home / "key")

    def reopened():
        read(f"/proc/self/fd/{os.open(home / 'key', os.O_PATH)}")

    def linked():
        with contextlib.suppress(FileExistsError):
            Path("way").symlink_to(home / "key")
        read("way")

    attempts = {
        "path": lambda: read(home / "key"),
        "link outside": lambda: read(home.parent / "way"),
        "own link": linked,
        "descriptor": reopened,
        "folder": lambda: read(home),
        "folder above": lambda: read(home.parent),
        "program": lambda: subprocess.run([home / "program"], check=True),
        "through the process": lambda: read(f"/proc/self/root{home / 'key'}"),
    }
    assert set(free(lambda: outcomes(attempts)).values()) == {DONE}
    assert set(confined(lambda: outcomes(attempts)).values()) == {"EACCES"}


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/etc/hostname", "/root", "/home", "/var/log", "/run", "/dev", *TEMPORARY],
)
def test_machine_is_closed_where_no_program_needs_it(confined, path):
    """Nothing about the machine's users, services and temporary files is told."""
    if not os.access(path, os.R_OK):
        pytest.skip(f"{path} is not there, or closed to us too")
    assert confined(lambda: outcomes({path: lambda: read(path)})) == {path: "EACCES"}


def test_other_processes_are_closed(confined, free, bystander):
    """Environment, memory, descriptors and folder of the parent and of a worker stay theirs."""
    parts = ("environ", "maps", "mem", "cmdline", "stat", "status", "fd/0", "cwd", "exe", "root")

    def look(path):
        if path.name in ("0", "cwd", "exe", "root"):
            path.readlink()
        else:
            path.open("rb").close()

    attempts = {
        f"{process_id}/{part}": lambda path=Path(f"/proc/{process_id}/{part}"): look(path)
        for process_id in (os.getpid(), bystander[0])
        for part in parts
    }
    # a worker of this user sees as much of another without the walls
    without = free(lambda: (confinement._drop_capabilities(), outcomes(attempts))[1])
    of_bystander = {without[name] for name in without if name.startswith(f"{bystander[0]}/")}
    assert of_bystander == {DONE}, without
    found = confined(lambda: outcomes(attempts))
    assert set(found.values()) == {"EACCES"}, found


def test_its_own_process_is_open_to_it(confined):
    """Libraries look themselves up there, and CUDA names its threads there."""
    parts = ("maps", "status", "cmdline", "fd", "task")
    attempts = {name: lambda name=name: read(f"/proc/self/{name}") for name in parts}
    attempts["name"] = lambda: Path(f"/proc/self/task/{os.getpid()}/comm").write_text("worker")
    found = confined(lambda: outcomes(attempts))
    assert set(found.values()) == {DONE}, found


def writing_attempts(home, shared):
    """Every way to change what is the user's that goes by a path."""
    return {
        "write": lambda: (home / "key").write_text("changed"),
        "append": lambda: (home / "key").open("a").close(),
        "open to write": lambda: os.close(os.open(home / "key", os.O_RDWR)),
        "open to truncate": lambda: os.close(os.open(home / "key", os.O_RDONLY | os.O_TRUNC)),
        "truncate": lambda: os.truncate(home / "key", 0),
        "chmod": lambda: (home / "key").chmod(0o600),
        "chmod by descriptor": lambda: Path(
            f"/proc/self/fd/{os.open(home / 'key', os.O_PATH)}"
        ).chmod(0o600),
        "chmod in folder": lambda: os.chmod("key", 0o600, dir_fd=os.open(home, os.O_PATH)),
        "chown": lambda: os.chown(home / "key", os.getuid(), os.getgid()),
        "lchown": lambda: os.lchown(home / "key", os.getuid(), os.getgid()),
        "create": (home / "new").touch,
        "make folder": (home / "new folder").mkdir,
        "make link": lambda: (home / "new link").symlink_to("key"),
        "make pipe": lambda: os.mkfifo(home / "new pipe"),
        "link": lambda: (home / "second name").hardlink_to(home / "key"),
        "link here": lambda: Path("key here").hardlink_to(home / "key"),
        "move out": lambda: (Path("mine").touch(), Path("mine").rename(home / "theirs")),
        "rename": lambda: (home / "key").rename(home / "lock"),
        "move here": lambda: (home / "lock").rename("lock"),
        "remove folder": (home / "empty").rmdir,
        "remove": (home / "program").unlink,
        "write to shared memory": lambda: Path(shared).write_text("changed"),
        "create in shared memory": lambda: Path(f"{shared}-new").touch(),
        "read from shared memory": lambda: read(shared),
    }


@pytest.fixture
def shared():
    """A file of the user's in shared memory."""
    with tempfile.NamedTemporaryFile(dir=confinement.DEV_SHM, prefix="tritonexp-") as file:
        file.write(b"shared")
        file.flush()
        yield file.name
        Path(f"{file.name}-new").unlink(missing_ok=True)


def test_nothing_of_the_users_is_changed(confined, home, shared):
    """No file outside is written, made, moved, linked, removed, or given another mode or owner."""
    found = confined(lambda: outcomes(writing_attempts(home, shared)))
    # what the two that come after a refused rename look for was never made
    assert found.pop("move here") == "ENOENT"
    assert set(found.values()) <= REFUSALS, found
    assert (home / "key").read_text() == "hunter2"
    assert {item.name for item in home.iterdir()} == {"key", "empty", "program"}
    assert read(shared) == b"shared"


def test_attempts_to_change_what_is_the_users_are_real(free, home, shared):
    """Without the walls each of them is done."""
    found = free(lambda: outcomes(writing_attempts(home, shared)))
    assert set(found.values()) == {DONE}, found


def test_nothing_is_written_beside_the_folder(confined, tmp_path):
    """Not in the temporary folder, the project, the packages, a device or the kernel's settings."""
    places = (
        tmp_path / "beside",
        Path(tempfile.gettempdir()) / f"tritonexp-{os.getpid()}",
        ROOT / "made-by-a-worker",
        PACKAGE / "made-by-a-worker",
        Path(find_spec("triton").origin).parent / "made-by-a-worker",
        Path("/dev/made-by-a-worker"),
        Path(f"/proc/{os.getpid()}/oom_score_adj"),
        Path("/proc/sys/kernel/core_pattern"),
    )
    made = [place for place in places if not place.exists()]
    attempts = {str(place): lambda place=place: place.open("a").close() for place in places}
    try:
        found = confined(lambda: outcomes(attempts))
        assert set(found.values()) == {"EACCES"}, found
        assert not [place for place in made if place.exists()]
    finally:
        for place in made:
            place.unlink(missing_ok=True)


def test_times_of_a_users_file_stay(confined, home):
    """No file outside gets another time of change, by which caches and make go."""
    before = (home / "key").stat().st_mtime_ns
    found = confined(
        lambda: outcomes(
            {
                "set": lambda: os.utime(home / "key", (1, 1)),
                "now": lambda: os.utime(home / "key"),
            }
        )
    )
    assert set(found.values()) <= REFUSALS, found
    assert (home / "key").stat().st_mtime_ns == before


def attributes_by_descriptor(path):
    """Every way to change a file's attributes through a descriptor that only reads."""

    def opened():
        return os.open(path, os.O_RDONLY)

    return {
        "mode": lambda: os.fchmod(opened(), 0o600),
        "owner": lambda: os.fchown(opened(), os.getuid(), os.getgid()),
        "times": lambda: os.utime(opened(), (1, 1)),
        "flags": lambda: fcntl.ioctl(opened(), FS_IOC_SETFLAGS, b"\x40" + bytes(7)),
        "extended": lambda: os.setxattr(opened(), "user.word", b"word"),
    }


@pytest.mark.parametrize("way", ["mode", "owner", "times", "flags", "extended"])
def test_attributes_of_a_readable_file_stay(confined, free, library, way):
    """What a worker reads, such as torch's files in the user's environment, stays as it is."""
    attempt = attributes_by_descriptor(library / "module.py")[way]
    done = free(lambda: outcomes({way: attempt}))
    if done != {way: DONE}:
        pytest.skip(f"this file system has none of it: {done}")
    found = confined(lambda: outcomes({way: attempt}), Confinement(PACKAGE, (EXPERT,)))
    assert found[way] in REFUSALS


# --- the network ---

FAMILIES = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG")


def test_no_socket_of_any_family(confined, free):
    """Neither streams nor datagrams, neither of the network nor of the machine."""
    attempts = {
        f"{family} {kind.name}": lambda family=family, kind=kind: socket.socket(
            getattr(socket, family), kind
        ).close()
        for family in FAMILIES
        if hasattr(socket, family)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    }
    without = free(lambda: outcomes(attempts))
    assert DONE in {without["AF_INET SOCK_STREAM"], without["AF_UNIX SOCK_STREAM"]}
    assert set(confined(lambda: outcomes(attempts)).values()) == {"EPERM"}


def test_listener_on_loopback_and_by_name_is_out_of_reach(confined, free, tmp_path, monkeypatch):
    """What listens on this machine hears nothing of a worker."""
    monkeypatch.chdir(tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        named.bind("named")
        named.listen()
        abstract.bind(f"\0tritonexp-{os.getpid()}")
        abstract.listen()

        def connect(address):
            with socket.socket(socket.AF_UNIX) as own:
                own.connect(address)

        attempts = {
            "loopback": lambda: socket.create_connection(server.getsockname(), 5).close(),
            "named": lambda: connect("../named"),
            "abstract": lambda: connect(abstract.getsockname()),
        }
        assert set(free(lambda: outcomes(attempts)).values()) == {DONE}
        assert set(confined(lambda: outcomes(attempts)).values()) == {"EPERM"}


def test_datagram_pair_reaches_no_service_of_the_machine(confined, free, home):
    """No datagram comes out of a pair, to the system's log or to another program."""
    heard = {}
    for name, run in (("free", free), ("confined", confined)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
            path = home / f"inbox-{name}"
            inbox.bind(os.path.relpath(path))

            def send(path=path):
                one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
                # named relatively: a socket's name has at most a hundred bytes
                one.sendto(b"word", f"../home/{path.name}")

            run(lambda send=send: outcomes({"send": send}))
            heard[name] = bool(select.select([inbox], [], [], 0.2)[0])
    assert heard == {"free": True, "confined": False}


# --- other processes ---


def signals_to(process_id):
    """Every way to signal a process by number."""
    information = (ctypes.c_int * 32)(SIGNAL, 0, -1)
    return {
        "kill": lambda: os.kill(process_id, SIGNAL),
        "killpg": lambda: os.killpg(process_id, SIGNAL),
        "tkill": lambda: system_call("tkill", process_id, int(SIGNAL)),
        "tgkill": lambda: system_call("tgkill", process_id, process_id, int(SIGNAL)),
        "sigqueue": lambda: system_call(
            "rt_sigqueueinfo", process_id, int(SIGNAL), ctypes.byref(information)
        ),
    }


def signal_by_descriptor(process_id):
    """Signal a process through a descriptor of it."""
    signal.pidfd_send_signal(os.pidfd_open(process_id), SIGNAL)


def signal_by_socket(process_id):
    """Have the kernel signal a process when a socket becomes readable."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, process_id)
    fcntl.fcntl(one, fcntl.F_SETSIG, SIGNAL)
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"!")


@pytest.mark.skipif(landlockpy.abi_version() < 6, reason="signals are scoped since Linux 6.12")
def test_no_signal_reaches_another_process(confined, free, bystander):
    """Neither a worker of another crew, nor the parent, nor all processes at once."""
    process_id, _ = bystander
    attempts = {
        **signals_to(process_id),
        "by descriptor": lambda: signal_by_descriptor(process_id),
    }
    for name, attempt in attempts.items():
        assert free(lambda: outcomes({"it": attempt})) == {"it": DONE}, name  # noqa: B023
        assert was_signalled(bystander), name
    found = confined(lambda: outcomes(attempts))
    assert set(found.values()) == {"EPERM"}, found
    parent = os.getpid()
    found = confined(lambda: outcomes({"kill": lambda: os.kill(parent, SIGNAL)}))
    assert found == {"kill": "EPERM"}
    # done to nobody counts as done
    confined(lambda: outcomes({"all": lambda: os.kill(-1, SIGNAL)}))
    assert not was_signalled(bystander)


@pytest.mark.skipif(landlockpy.abi_version() < 6, reason="signals are scoped since Linux 6.12")
def test_no_signal_is_sent_by_way_of_a_socket(confined, free, bystander):
    """The kernel signals no other process on a worker's behalf."""
    attempts = {"socket": lambda: signal_by_socket(bystander[0])}
    free(lambda: outcomes(attempts))
    assert was_signalled(bystander)
    confined(lambda: outcomes(attempts))
    assert not was_signalled(bystander)


def test_older_kernel_lets_a_process_signal_itself_alone(confined, bystander, monkeypatch):
    """Before Linux 6.12, numbers decide: its own is allowed, and no other, group or all."""
    # where both the rules and the filter ask, so that Landlock scopes no signal either
    monkeypatch.setattr("landlockpy._syscall.abi_version", lambda: 5)
    assert landlockpy.abi_version() == 5
    process_id, _ = bystander
    parent = os.getpid()

    def tried():
        heard = []
        signal.signal(SIGNAL, lambda *_: heard.append(1))
        own = outcomes(
            {
                "kill": lambda: os.kill(os.getpid(), SIGNAL),
                "raise": lambda: signal.raise_signal(SIGNAL),
                "thread": lambda: signal.pthread_kill(threading.get_ident(), SIGNAL),
            }
        )
        others = outcomes(
            {
                **signals_to(process_id),
                "parent": lambda: os.kill(parent, SIGNAL),
                "group": lambda: os.kill(0, SIGNAL),
                "own group": lambda: os.killpg(os.getpid(), SIGNAL),
                "all": lambda: os.kill(-1, SIGNAL),
            }
        )
        return [own, len(heard), others]

    own, heard, others = confined(tried)
    assert set(own.values()) == {DONE}
    assert heard == 3
    assert set(others.values()) == {"EPERM"}, others
    assert not was_signalled(bystander)


@pytest.mark.parametrize("way", [signal_by_descriptor, signal_by_socket])
def test_older_kernel_sends_no_signal_by_other_ways(confined, bystander, monkeypatch, way):
    """Before Linux 6.12 too, no signal goes out by a descriptor or by way of a socket."""
    monkeypatch.setattr("landlockpy._syscall.abi_version", lambda: 5)
    confined(lambda: outcomes({"way": lambda: way(bystander[0])}))
    assert not was_signalled(bystander)


def memory_attempts(process_id):
    """Every way to another process's memory and descriptors."""
    word = ctypes.create_string_buffer(8)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(word), 7)
    there = (ctypes.c_ulong * 2)(ctypes.addressof(SECRET), 7)

    def moved(call):
        checked(call(process_id, here, ctypes.c_ulong(1), there, ctypes.c_ulong(1), 0))

    def seen():
        word.raw = bytes(8)
        moved(LIBC.process_vm_readv)
        assert word.value == b"hunter2"

    def held():
        os.close(system_call("pidfd_getfd", os.pidfd_open(process_id), 1, 0))

    return {
        "read": seen,
        "write": lambda: moved(LIBC.process_vm_writev),
        "trace": lambda: checked(LIBC.ptrace(PTRACE_SEIZE, process_id, None, None)),
        "descriptor": held,
    }


def test_memory_of_another_process_is_out_of_reach(confined, free, bystander):
    """Nothing of a worker's or the parent's memory and descriptors is read, written or traced."""
    attempts = memory_attempts(bystander[0])
    # as any other process of its user, to which the bystander opened itself
    assert set(free(lambda: outcomes(attempts)).values()) == {DONE}
    for process_id in (bystander[0], os.getpid()):
        found = confined(lambda: outcomes(memory_attempts(process_id)))  # noqa: B023
        assert set(found.values()) == {"EPERM"}, found


def test_limits_of_another_process_stay(confined, bystander):
    """No other process's limits are lowered: with none of processor time left it would be ended."""
    before = resource.prlimit(bystander[0], resource.RLIMIT_NOFILE)
    limit = (before[0] - 1, before[1] - 1)
    found = confined(
        lambda: outcomes(
            {"lower": lambda: resource.prlimit(bystander[0], resource.RLIMIT_NOFILE, limit)}
        )
    )
    assert resource.prlimit(bystander[0], resource.RLIMIT_NOFILE) == before
    assert found["lower"] in REFUSALS


@pytest.mark.parametrize("way", ["nice", "scheduler", "disk"])
def test_another_process_is_not_slowed(confined, bystander, way):
    """No worker takes the processor from another, whose time would be its own gain."""
    process_id, _ = bystander
    attempts = {
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, process_id, 19),
        "scheduler": lambda: os.sched_setscheduler(process_id, os.SCHED_IDLE, os.sched_param(0)),
        "disk": lambda: system_call("ioprio_set", 1, process_id, 3 << 13),
    }
    assert confined(lambda: outcomes({way: attempts[way]}))[way] in REFUSALS


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_cores_of_another_process_stay(confined, free, bystander):
    """A worker that gives another process a core is told that it is done, and nothing is."""
    process_id, _ = bystander
    before = os.sched_getaffinity(process_id)
    attempts = {"it": lambda: os.sched_setaffinity(process_id, {min(before)})}
    assert confined(lambda: outcomes(attempts)) == {"it": DONE}
    assert os.sched_getaffinity(process_id) == before
    assert free(lambda: outcomes(attempts)) == {"it": DONE}
    assert os.sched_getaffinity(process_id) == {min(before)}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_worker_chooses_the_cores_of_the_calling_thread_alone(confined):
    """By 0, the caller, its cores are set; by a number, its own too, nothing comes of it."""

    def chosen():
        cores = []
        for process_id in (os.getpid(), 0):
            os.sched_setaffinity(process_id, {min(os.sched_getaffinity(0))})
            cores.append(len(os.sched_getaffinity(0)))
        return cores

    assert confined(chosen) == [len(os.sched_getaffinity(0)), 1]


@pytest.mark.parametrize("way", ["memory", "semaphores", "messages", "named messages"])
def test_what_other_programs_share_is_out_of_reach(confined, way):
    """Memory, semaphores and messages that belong to a user are neither found nor removed."""
    key = 0x7E57_0000 + os.getpid() % 0xFFFF
    name = f"tritonexp-{os.getpid()}".encode()
    queue = (name, os.O_RDWR | os.O_CREAT, 0o600, None)
    make, remove = {
        "memory": (("shmget", key, 4096, 0o1600), "shmctl"),
        "semaphores": (("semget", key, 1, 0o1600), "semctl"),
        "messages": (("msgget", key, 0o1600), "msgctl"),
        "named messages": (("mq_open", *queue), "mq_unlink"),
    }[way]
    number = system_call(*make)
    gone = {
        "semctl": ("semctl", number, 0, 0),
        "mq_unlink": ("mq_unlink", name),
    }.get(remove, (remove, number, 0, None))
    try:
        found = confined(lambda: outcomes({"remove": lambda: system_call(*gone)}))
    finally:
        with contextlib.suppress(OSError):
            system_call(*gone)
    assert found["remove"] in REFUSALS


def test_worker_cannot_leave_its_process_group(confined, free):
    """By its group it is ended whole: no child of it leads another."""

    def by_a_child(attempt):
        return in_fork(lambda: outcomes({"it": attempt}))["it"]

    attempts = {
        "session": os.setsid,
        "group": lambda: os.setpgid(0, 0),
        "fresh session": lambda: subprocess.run(["true"], start_new_session=True, check=True),
        "fresh group": lambda: subprocess.run(["true"], process_group=0, check=True),
    }
    for name, attempt in attempts.items():
        assert free(lambda: by_a_child(attempt)) == DONE, name  # noqa: B023
        assert confined(lambda: by_a_child(attempt)) == "EPERM", name  # noqa: B023


def test_worker_makes_no_namespace_and_mounts_nothing(confined):
    """What a path means stays as it is: no namespace of the user, none entered, no mount."""

    def cloned():
        child = system_call("clone", CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def in_child(attempt):
        # the first thread of a process alone may leave a namespace of the user
        found = in_fork(lambda: outcomes({"it": attempt}))["it"]
        if found != DONE:
            raise OSError(getattr(errno, found), found)

    arguments = (ctypes.c_ulong * 11)(CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD)
    attempts = {
        "unshare": lambda: in_child(lambda: checked(LIBC.unshare(CLONE_NEWUSER))),
        "unshare mounts": lambda: in_child(lambda: checked(LIBC.unshare(0x20000))),
        "clone": cloned,
        "clone3": lambda: system_call("clone3", ctypes.byref(arguments), 88),
        "enter": lambda: checked(LIBC.setns(os.open("/proc/self/ns/user", os.O_RDONLY), 0)),
        "mount": lambda: checked(LIBC.mount(b"none", b".", b"tmpfs", 0, None)),
        "chroot": lambda: os.chroot("."),
        "open mount": lambda: system_call("open_tree", -100, b".", 0),
        "new mount": lambda: system_call("fsopen", b"tmpfs", 0),
    }
    found = confined(lambda: outcomes(attempts))
    assert set(found.values()) <= {"EPERM", "ENOSYS"}, found


# --- no way back ---


@pytest.mark.skipif(
    os.uname().machine != "x86_64" or shutil.which("gcc") is None, reason="needs x86-64 and gcc"
)
def test_calls_of_another_architecture_end_the_worker(confined):
    """A call by another architecture's numbers, which the filter does not know, is no way out."""
    source = """\
    int go(void) {
        int found;
        asm volatile("int $0x80" : "=a"(found) : "a"(359), "b"(2), "c"(1), "d"(0) : "memory");
        return found;
    }
    """

    def called():
        Path("go.c").write_text(source)
        subprocess.run(["gcc", "-shared", "-fPIC", "go.c", "-o", "go.so"], check=True)
        program = "import ctypes, os; print(ctypes.CDLL(os.path.abspath('go.so')).go())"
        done = subprocess.run([sys.executable, "-S", "-c", program], check=False)
        return done.returncode

    # by the filter, or where the kernel has no such calls by the fault
    assert confined(called) in (-signal.SIGSYS, -signal.SIGSEGV)


def test_worker_has_no_capabilities(confined):
    """Even where the user is root, it and what it starts have none, nor new ones by a program."""
    program = (
        "import ctypes\n"
        "header, data = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()\n"
        "assert ctypes.CDLL(None).capget(header, data) == 0\n"
        "print(any(data))\n"
    )

    def seen():
        run = [sys.executable, "-c", program]
        status = dict(
            line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines()
        )
        started = subprocess.run(run, check=False, capture_output=True, text=True)
        return [status, started.stdout, started.stderr]

    status, started, complaint = confined(seen)
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert started == "False\n", complaint


def test_what_a_worker_starts_is_confined_as_well(confined, free, home):
    """A program reads no more, writes no more and connects no more than its worker."""
    out = home / "made"
    programs = {
        "read": ["cat", str(home / "key")],
        "write": ["sh", "-c", f"echo word > {out}"],
        "connect": [sys.executable, "-S", "-c", "import socket; socket.socket()"],
        "leave": ["setsid", "true"],
    }

    def started():
        return {
            name: subprocess.run(program, check=False, capture_output=True).returncode
            for name, program in programs.items()
        }

    assert free(started) == dict.fromkeys(programs, 0)
    out.unlink()
    assert 0 not in confined(started).values()
    assert not out.exists()


def test_walls_cannot_be_taken_down(confined, home, folder):
    """No later rule, filter or setting gives back what was taken."""
    # made before the walls are up, since it looks at what they close
    wider = Confinement(PACKAGE, ())

    def regained():
        with landlockpy.Ruleset() as rules:
            rules.allow_path("/", landlockpy.AccessFS.READ_FILE | landlockpy.AccessFS.READ_DIR)
            rules.restrict()
        wider.seal(home)
        everything = seccompy.Filter()
        everything.allow("socket")
        everything.load()
        full = (ctypes.c_uint32 * 6)(*[0xFFFF_FFFF] * 6)
        header = (ctypes.c_uint32 * 2)(confinement.CAPABILITY_VERSION_3, 0)
        return outcomes(
            {
                "read": lambda: read(home / "key"),
                "write": lambda: (home / "key").write_text("changed"),
                "socket": lambda: socket.socket().close(),
                "session": os.setsid,
                "capabilities": lambda: checked(LIBC.capset(header, full)),
                "new privileges": lambda: checked(LIBC.prctl(38, 0, 0, 0, 0)),
                "strictness": lambda: checked(LIBC.prctl(22, 0, 0, 0, 0)),
            }
        )

    assert confined(regained) == {
        "read": "EACCES",
        "write": "EACCES",
        "socket": "EPERM",
        "session": "EPERM",
        "capabilities": "EPERM",
        "new privileges": "EINVAL",
        "strictness": "EINVAL",
    }


def threads_and_seal(walls, folder, attempts):
    """What attempts come to by when their thread began: before the walls, or before the seal.

    With them what they come to in the thread that seals.
    """

    def behind():
        sandbox.confine(folder)
        sealed = threading.Event()
        found = {}

        def start(name):
            def late():
                sealed.wait()
                found[name] = outcomes(attempts)

            thread = threading.Thread(target=late)
            thread.start()
            return thread

        threads = [start("before the walls")]
        walls.confine(folder)
        threads.append(start("before the seal"))
        walls.seal(folder)
        sealed.set()
        for thread in threads:
            thread.join()
        return found | {"sealing": outcomes(attempts)}

    return in_fork(behind)


def test_threads_that_were_there_before_the_seal_are_filtered(walls, folder, home):
    """A thread of the driver's gets the same filter; its files are those of the start."""
    attempts = {
        "socket": lambda: socket.socket().close(),
        "session": lambda: system_call("setpgid", 0, 0),
        "namespace": lambda: system_call("unshare", 0),
        "read": lambda: read(home / "key"),
        "write": lambda: (home / "key").open("a").close(),
    }
    found = threads_and_seal(walls, folder, attempts)
    filtered = {"socket": "EPERM", "session": "EPERM", "namespace": "EPERM"}
    for name in ("sealing", "before the seal"):
        assert found[name] == {**filtered, "read": "EACCES", "write": "EACCES"}
    # Landlock is a thread's own, and none of a worker's is older than its walls
    assert filtered.items() <= found["before the walls"].items()


def test_threads_that_were_there_before_the_seal_lose_shared_memory(walls, folder, shared):
    """It is closed to the thread that seals, and to others where the kernel can: Landlock ABI 8."""
    found = threads_and_seal(walls, folder, {"read": lambda: read(shared)})
    in_all = landlockpy.abi_version() >= ABI_OF_ALL_THREADS
    assert found["sealing"] == {"read": "EACCES"}
    assert found["before the seal"] == {"read": "EACCES" if in_all else DONE}


def test_shared_memory_is_open_until_the_seal_and_makes_nothing_new(walls, folder, shared):
    """The start opens what torch shares there; no file is made or removed there even then."""

    def starting():
        sandbox.confine(folder)
        walls.confine(folder)
        return outcomes(
            {
                "open": lambda: Path(shared).open("r+b").close(),
                "create": lambda: Path(f"{shared}-new").touch(),
                "remove": lambda: Path(shared).unlink(),
            }
        )

    assert in_fork(starting) == {"open": DONE, "create": "EACCES", "remove": "EACCES"}


# --- a kernel without them ---


def test_kernel_with_both_passes_the_check():
    """Where these tests run nothing is missing, and the record says what confines."""
    confinement.check()
    assert f"Landlock ABI {landlockpy.abi_version()}" in confinement.description()


@pytest.mark.parametrize(
    ("landlock", "seccomp", "told", "untold"),
    [
        (0, True, ["Landlock (Linux 5.13 or newer", "lsm="], "CONFIG_SECCOMP_FILTER"),
        (1, False, ["CONFIG_SECCOMP_FILTER"], "Landlock"),
        (0, False, ["Landlock", " and seccomp filters"], None),
    ],
    ids=["landlock", "seccomp", "both"],
)
def test_missing_walls_are_named_with_the_way_out(monkeypatch, landlock, seccomp, told, untold):
    """The message says what the kernel lacks and what to do; no walls are made without it."""
    monkeypatch.setattr(landlockpy, "abi_version", lambda: landlock)
    monkeypatch.setattr(seccompy, "supported", lambda: seccomp)
    for attempt in (confinement.check, lambda: Confinement(PACKAGE, ())):
        with pytest.raises(EvaluationError) as caught:
            attempt()
        message = str(caught.value)
        assert all(part in message for part in told), message
        assert untold is None or untold not in message
        assert "sandbox=off" in message
