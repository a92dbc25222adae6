"""The kernel's own walls around a worker: Landlock for files and signals, seccomp for system calls.

They need no privileges and no other program, only Linux 5.13 with Landlock switched on, as all
large distributions have it. A worker reads what Python, torch, triton and the compiler need and
nothing else of the file system, so no expert, recording, record or key; it writes only into its
crew's folder. It has no capabilities, even where it is root's. It opens no socket, signals no
process outside, traces none, and cannot leave its process group. Nothing here can be taken back, by
the worker or by anything that it starts.

Does not cover what a kernel before 6.12 lacks: there signals are held back by their number alone,
so a worker cannot signal even its own children. Nor does it cover the CPU's and the GPU's memory,
which the fork server and the referee watch.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

import landlockpy
import seccompy
from landlockpy import AccessFS, AccessNet, Scope

from tritonexp.errors import EvaluationError

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
CAPABILITY_VERSION_3 = 0x2008_0522
CLONE_NEWUSER = 0x1000_0000
X32_BIT = 0x4000_0000

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
    *("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "truncate"),
    *("setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr"),
    *("utime", "utimes", "futimesat"),
    # the kernel and the machine
    *("bpf", "perf_event_open", "keyctl", "add_key", "request_key", "syslog", "acct"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"),
    *("reboot", "swapon", "swapoff", "sethostname", "setdomainname", "quotactl"),
    *("settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "ioperm", "iopl"),
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
    return f"Landlock ABI {landlockpy.abi_version()}, seccomp, process group, resource limits"


class Confinement:
    """The walls for the workers of one fork server, looked up once; made before any is forked."""

    def __init__(self, package: Path, hidden_modules: Iterable[str]) -> None:
        """`package` is ours, which workers run; `hidden_modules` must not be readable.

        The modules are found without being imported; one that is not installed needs no hiding.
        """
        check()
        hidden = [
            Path(location).resolve() for module in hidden_modules for location in _locations(module)
        ]
        self._readable = dict(_grants(_roots(package), hidden))
        self._readable[package.resolve()] = READ

    def confine(self, folder: Path) -> None:
        """Confine this thread, and all that comes of it, before it touches the GPU."""
        _drop_capabilities()
        # torch counts the references to shared GPU memory in a file there
        self._restrict(self._grants(folder) | {Path(DEV_SHM): SHARED_MEMORY})

    def seal(self, folder: Path) -> None:
        """Close what only the start needed, in all threads, before a candidate's code runs."""
        self._restrict(self._grants(folder))
        _filter(os.getpid()).load()

    def _grants(self, folder: Path) -> dict[Path, AccessFS]:
        own_process = PROC / str(os.getpid())
        return (
            self._readable
            | dict.fromkeys(_devices(), DEVICE)
            # CUDA names its threads there, and gives up where it cannot
            | {folder: OWN, PROC: LIST, own_process: READ | AccessFS.WRITE_FILE | AccessFS.TRUNCATE}
        )

    def _restrict(self, grants: dict[Path, AccessFS]) -> None:
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
            rules.restrict()


_FILE_RIGHTS = (
    AccessFS.READ_FILE
    | AccessFS.WRITE_FILE
    | AccessFS.EXECUTE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
)


def _filter(process_id: int) -> seccompy.Filter:
    # of all threads: the driver's were there before
    filter_ = seccompy.Filter(flags=seccompy.FilterFlag.TSYNC)
    is_x86 = seccompy.audit_arch() == seccompy.AUDIT_ARCH_X86_64

    def deny(
        name: str, error: int = errno.EPERM, args: Sequence[tuple[int, int, int, int]] = ()
    ) -> None:
        try:
            number = seccompy.syscall_nr(name)
        except ValueError:
            # not every architecture has every call
            return
        filter_.errno(number, error, args=args)
        if is_x86:
            filter_.errno(number | X32_BIT, error, args=args)

    for name in DENIED:
        deny(name)
    flag = (0, int(seccompy.CmpOp.MASKED_EQ), CLONE_NEWUSER, CLONE_NEWUSER)
    deny("clone", args=[flag])
    # its flags lie in memory, where no filter sees them; the C library falls back to clone
    deny("clone3", errno.ENOSYS)
    if landlockpy.abi_version() < ABI_OF_SIGNAL_SCOPE:
        for name in SIGNALLING:
            if name != "tkill":
                filter_.allow(name, args={0: process_id})
            deny(name)
    return filter_


def _roots(package: Path) -> list[Path]:
    """Where Python, its packages, the loader and the compiler find what they need."""
    found = [Path(path) for path in SYSTEM]
    found += [Path("/etc") / name for name in SETTINGS]
    found += _of_proc()
    found += [Path(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix)]
    found += [Path(path) for path in (*sysconfig.get_paths().values(), *site.getsitepackages())]
    for name in LIBRARY_PATHS:
        found += [Path(part) for part in os.environ.get(name, "").split(os.pathsep) if part]
    # a folder that our package is imported from is the project, with all that must not be read
    project = package.resolve().parent
    found += [Path(path) for path in sys.path if path and Path(path).resolve() != project]
    return [path for path in dict.fromkeys(found) if path.exists()]


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


def _locations(module: str) -> list[str]:
    top = module.partition(".")[0]
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


def _devices() -> list[Path]:
    device = Path("/dev")
    return [
        *(device / name for name in DEVICES),
        *sorted(device.glob("nvidia*")),
        *sorted(device.glob("nvidia-caps/*")),
    ]
