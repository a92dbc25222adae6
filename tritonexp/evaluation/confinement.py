"""The kernel's own walls around a worker: Landlock for files and signals, seccomp for system calls.

They need no privileges and no other program, only Linux 5.13 with Landlock switched on, as all
large distributions have it. A worker reads what Python, torch, triton and the compiler need and
nothing else of the file system, so no expert, recording, record or key; it writes only into its
crew's folder. It has no capabilities, even where it is root's. It opens no socket, signals no
process outside, traces none, and cannot leave its process group. Nothing here can be taken back, by
the worker or by anything that it starts.

Does not cover what a kernel before 6.12 lacks: there signals are held back by their number alone,
so a worker cannot signal even its own children. Nor does it cover memory and disk, which the server
watches, nor whether a file exists and how large it is, which anybody may ask.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import importlib.util
import os
import site
import socket
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

import landlockpy
import seccompy
from landlockpy import AccessFS, AccessNet, Scope

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import sandbox

LIST = AccessFS.READ_DIR
READ = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.EXECUTE
OWN = (
    READ
    | AccessFS.WRITE_FILE
    | AccessFS.TRUNCATE
    | AccessFS.REFER
    | AccessFS.MAKE_REG
    | AccessFS.MAKE_DIR
    | AccessFS.MAKE_SYM
    | AccessFS.MAKE_FIFO
    | AccessFS.REMOVE_FILE
    | AccessFS.REMOVE_DIR
)
DEVICE = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.WRITE_FILE | AccessFS.IOCTL_DEV
SHARED_MEMORY = AccessFS.READ_FILE | AccessFS.READ_DIR | AccessFS.WRITE_FILE

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/sys")
PROC = Path("/proc")
SECRETS_OF_PROC = ("kcore", "kmsg", "keys", "key-users", "sysrq-trigger")
# what the loader, the C library and the compiler look up, and nothing about the machine's users
SETTINGS = (
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "timezone",
)
DEVICES = ("null", "zero", "full", "random", "urandom")
DEV_SHM = "/dev/shm"  # noqa: S108 - shared memory, no temporary file
LIBRARY_PATHS = ("LD_LIBRARY_PATH", "PATH", "CUDA_HOME", "CUDA_PATH")

ABI_OF_SIGNAL_SCOPE = 6
U64 = 0xFFFF_FFFF_FFFF_FFFF
# on an argument of a call: its number, an operation, a value, and a mask
Condition = tuple[int, int, int, int]
CAPABILITY_VERSION_3 = 0x2008_0522
CLONE_NEWUSER = 0x1000_0000
X32_BIT = 0x4000_0000
# calls that have numbers of their own where a kernel still has x32
X32_NUMBERS = range(512, 548)

# by what each would break out of
DENIED = (
    # the network, and every other process's sockets
    *("socket", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    # other processes' memory and descriptors
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"),
    *("pidfd_getfd", "kcmp", "userfaultfd"),
    # the process group, by which a worker is ended whole
    *("setsid", "setpgid"),
    # namespaces and mounts, which would change what paths mean
    *("unshare", "setns", "mount", "umount2", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsmount", "fspick", "pivot_root", "chroot", "open_by_handle_at"),
    # files that are the user's but not the worker's: Landlock leaves their owner and mode alone
    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat", "truncate"),
    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
    *("utime", "utimes", "futimesat", "utimensat", "file_setattr"),
    *("inotify_add_watch", "fanotify_init", "fanotify_mark"),
    # what processes of one user share without files
    *("shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
    # signals to a process by its descriptor
    "pidfd_send_signal",
    # the kernel and the machine
    *("bpf", "perf_event_open", "keyctl", "add_key", "request_key", "syslog", "acct"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"),
    *("reboot", "swapon", "swapoff", "sethostname", "setdomainname", "quotactl"),
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "ioperm", "iopl"),
)
# calls on a process, which is named in an argument of this number: only on the caller itself.
# where the argument before says what kind of thing is named, the value that means a process
ON_ITSELF = {
    "prlimit64": (0, None),
    "sched_setscheduler": (0, None),
    "sched_setparam": (0, None),
    "sched_setattr": (0, None),
    "setpriority": (1, os.PRIO_PROCESS),
    "ioprio_set": (1, 1),
}
# arguments by which a harmless call reaches beyond: number of the argument, mask, value
DENIED_ARGUMENTS = (
    # a datagram socket can send to any that has a name
    ("socketpair", 1, 0xF, socket.SOCK_DGRAM),
    ("socketpair", 1, 0xF, socket.SOCK_RAW),
    # signals to whoever is named as a descriptor's owner
    ("fcntl", 1, 0xFFFF_FFFF, fcntl.F_SETOWN),
    ("fcntl", 1, 0xFFFF_FFFF, 15),  # F_SETOWN_EX
    ("fcntl", 1, 0xFFFF_FFFF, fcntl.F_SETSIG),
    ("ioctl", 1, 0xFFFF_FFFF, 0x8901),  # FIOSETOWN
    ("ioctl", 1, 0xFFFF_FFFF, 0x8902),  # SIOCSPGRP
    # file systems' own calls, which need a file to be open for reading only
    ("ioctl", 1, 0xFF00, 0x6600),  # of ext's kind, such as FS_IOC_SETFLAGS
    ("ioctl", 1, 0xFF00, 0x5800),  # of xfs's kind, such as FS_IOC_FSSETXATTR
    ("ioctl", 1, 0xFF00, 0x9400),  # of btrfs
    ("ioctl", 1, 0xFFFF_FFFF, 0x4008_7602),  # FS_IOC_SETVERSION
    ("clone", 0, CLONE_NEWUSER, CLONE_NEWUSER),
)
SIGNALLING = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")


def check() -> None:
    """Raise EvaluationError where the kernel cannot confine a worker."""
    missing = []
    if landlockpy.abi_version() < 1:
        missing.append(
            "Landlock (Linux 5.13 or newer, with landlock in /sys/kernel/security/lsm or in the"
            " boot parameter lsm=)"
        )
    if not seccompy.supported():
        missing.append("seccomp filters (CONFIG_SECCOMP_FILTER)")
    if missing:
        raise EvaluationError(
            f"the sandbox for generated code cannot be set up: this kernel lacks"
            f" {' and '.join(missing)}. Run on a kernel that has it, or let generated code read and"
            " write whatever you can with sandbox=off."
        )


def description() -> str:
    """What confines a worker here, for the record."""
    # see thread_checks.py
    blind = "" if sandbox.tells_of_threads() else "; this kernel does not tell how long threads ran"
    abi = landlockpy.abi_version()
    return f"Landlock ABI {abi}, seccomp, process group, resource limits{blind}"


class Confinement:
    """The walls for the workers of one fork server, looked up once; made before any is forked."""

    def __init__(self, package: Path, hidden: Iterable[str]) -> None:
        """`package` is ours, which workers run; the `hidden` must not be readable.

        These are modules and absolute paths. Modules are found without being imported; what is not
        there needs no hiding.
        """
        check()
        roots = _roots(package)
        closed = [Path(location).resolve() for item in hidden for location in _locations(item)]
        closed += _rest_of_project(package.resolve(), [root.resolve() for root in roots])
        self._readable = dict(_grants(roots, closed))
        self._readable[package.resolve()] = READ
        self._gpu = False

    def confine(self, folder: Path, *, gpu: bool = True) -> None:
        """Confine this thread, and all that comes of it, before it touches the GPU, if it may."""
        _drop_capabilities()
        self._gpu = gpu
        # torch counts the references to shared GPU memory in a file there
        self._restrict(self._grants(folder) | {Path(DEV_SHM): SHARED_MEMORY})

    def seal(self, folder: Path, *, shared_memory: bool = False) -> None:
        """Close what only the start needed, before a candidate's code runs.

        System calls in all threads; shared memory in this one and those after it, and in all where
        the kernel can (Landlock ABI 8). With `shared_memory` that stays open.
        """
        if not shared_memory:
            self._restrict(self._grants(folder), landlockpy.RestrictFlag.TSYNC)
        _filter(os.getpid()).load()

    def _grants(self, folder: Path) -> dict[Path, AccessFS]:
        own_process = PROC / str(os.getpid())
        return (
            self._readable
            | dict.fromkeys(_devices(gpu=self._gpu), DEVICE)
            # CUDA names its threads there, and gives up where it cannot
            | {folder: OWN, PROC: LIST, own_process: READ | AccessFS.WRITE_FILE | AccessFS.TRUNCATE}
        )

    def _restrict(
        self,
        grants: dict[Path, AccessFS],
        flags: landlockpy.RestrictFlag = landlockpy.RestrictFlag(0),  # noqa: B008 - a constant
    ) -> None:
        with landlockpy.Ruleset(
            handled_net=AccessNet.BIND_TCP | AccessNet.CONNECT_TCP,
            scoped=Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL,
        ) as rules:
            for path, access in grants.items():
                try:
                    is_folder = path.is_dir()
                    # the kernel refuses rights that only a folder can have on a file
                    rules.allow_path(path, access if is_folder else access & _FILE_RIGHTS)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.EACCES, errno.ELOOP):
                        raise
            rules.restrict(flags)


_FILE_RIGHTS = (
    AccessFS.READ_FILE
    | AccessFS.WRITE_FILE
    | AccessFS.EXECUTE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
)


class _Filter:
    """A filter of system calls that grows by what is denied."""

    def __init__(self) -> None:
        # of all threads: the driver's were there before
        self.calls = seccompy.Filter(flags=seccompy.FilterFlag.TSYNC)
        self._is_x86 = seccompy.audit_arch() == seccompy.AUDIT_ARCH_X86_64

    def deny(self, name: str, error: int = errno.EPERM, args: Sequence[Condition] = ()) -> None:
        """Have a call fail, or with an error of 0 do nothing."""
        try:
            number = seccompy.syscall_nr(name)
        except ValueError:
            # not every architecture has every call
            return
        self.calls.errno(number, error, args=args)
        if self._is_x86:
            self.calls.errno(number | X32_BIT, error, args=args)

    def allow_on(self, name: str, index: int, *values: int, kind: int | None = None) -> None:
        """Let a call by where one of its arguments has one of these values.

        And the argument before it that of a kind, if one is given.
        """
        for value in values:
            before = {} if kind is None else {index - 1: kind}
            self.calls.allow(name, args=before | {index: value})

    def deny_x32(self) -> None:
        """Have all calls fail that only x32 has."""
        if self._is_x86:
            for number in X32_NUMBERS:
                self.calls.errno(number | X32_BIT, errno.EPERM)


def _filter(process_id: int) -> seccompy.Filter:
    filter_ = _Filter()
    for name in DENIED:
        filter_.deny(name)
    filter_.deny_x32()
    for name, (index, kind) in ON_ITSELF.items():
        filter_.allow_on(name, index, 0, process_id, kind=kind)
        filter_.deny(name)
    other_family = (0, int(seccompy.CmpOp.NE), int(socket.AF_UNIX), U64)
    filter_.deny("socketpair", args=[other_family])
    # threads are named by numbers of their own here, and nobody minds if nothing comes of it
    filter_.allow_on("sched_setaffinity", 0, 0)
    filter_.deny("sched_setaffinity", 0)
    for name, index, mask, value in DENIED_ARGUMENTS:
        filter_.deny(name, args=[(index, int(seccompy.CmpOp.MASKED_EQ), value, mask)])
    # its flags lie in memory, where no filter sees them; the C library falls back to clone
    filter_.deny("clone3", errno.ENOSYS)
    if landlockpy.abi_version() < ABI_OF_SIGNAL_SCOPE:
        for name in SIGNALLING:
            if name != "tkill":
                filter_.allow_on(name, 0, process_id)
            filter_.deny(name)
    return filter_.calls


def _roots(package: Path) -> list[Path]:
    """Where Python, its packages, the loader and the compiler find what they need."""
    found = [Path(path) for path in SYSTEM]
    found += [Path("/etc") / name for name in SETTINGS]
    found += _of_proc()
    found += [Path(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix)]
    found += [Path(path) for path in (*sysconfig.get_paths().values(), *site.getsitepackages())]
    for name in LIBRARY_PATHS:
        found += [Path(part) for part in os.environ.get(name, "").split(os.pathsep) if part]
    # the folder that our package is imported from is the project, with all that must not be read;
    # what else of it is imported from, such as tests, is nothing that a worker needs
    project = package.resolve().parent
    environments = [Path(path).resolve() for path in (sys.prefix, sys.base_prefix)]
    for path in map(Path, filter(None, sys.path)):
        real = path.resolve()
        is_installed = any(real.is_relative_to(folder) for folder in environments)
        is_ours = real == project or (_is_project(project) and project in real.parents)
        if is_installed or not is_ours:
            found.append(path)
    return [path for path in dict.fromkeys(found) if path.exists()]


def _is_project(folder: Path) -> bool:
    """Whether a folder is a checkout of ours, rather than one of installed packages."""
    return (folder / "kernels").is_dir()


def _rest_of_project(package: Path, roots: Sequence[Path]) -> list[Path]:
    """All that lies beside our package in the project, but for an environment that is in use."""
    project = package.parent
    if not _is_project(project):
        return []
    return [
        child
        for child in project.iterdir()
        if child != package and not any(child == root or child in root.parents for root in roots)
    ]


def _grants(roots: Iterable[Path], hidden: Sequence[Path]) -> Iterable[tuple[Path, AccessFS]]:
    """Rights to read whole roots, or where something in one is hidden, all but that."""
    for root in roots:
        real = root.resolve()
        if any(path == real or path in real.parents for path in hidden):
            continue
        if any(real in path.parents for path in hidden):
            # imports list folders; the names of what is hidden are no secret
            yield real, LIST
            yield from _grants(sorted(real.iterdir()), hidden)
        else:
            yield real, READ


def _locations(hidden: str) -> list[str]:
    if Path(hidden).is_absolute():
        return [hidden]
    top = hidden.partition(".")[0]
    found = importlib.util.find_spec(top)
    if found is None:
        return []
    return list(found.submodule_search_locations or [found.origin or ""])


def _of_proc() -> list[Path]:
    """What is told of the machine, and nothing of its processes."""
    return [
        path
        for path in sorted(PROC.iterdir())
        if not path.name.isdigit() and path.name not in SECRETS_OF_PROC and not path.is_symlink()
    ]


def _drop_capabilities() -> None:
    """Root keeps what it owns, and loses what lets it look into other processes."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    # two words of each of the effective, permitted and inheritable sets, all empty
    empty = (ctypes.c_uint32 * 6)()
    library = ctypes.CDLL(None, use_errno=True)
    if library.capset(ctypes.byref(Header(CAPABILITY_VERSION_3, 0)), empty):
        raise OSError(ctypes.get_errno(), "a worker cannot drop its capabilities")


def _devices(*, gpu: bool) -> list[Path]:
    device = Path("/dev")
    found = [device / name for name in DEVICES]
    if gpu:
        found += [*sorted(device.glob("nvidia*")), *sorted(device.glob("nvidia-caps/*"))]
    return found
