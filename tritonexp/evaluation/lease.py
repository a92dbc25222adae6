"""One measurement at a time per GPU: an exclusive lease by the GPU's UUID, between any processes.

A lease is flock(2) on a file that is named by the UUID, so the kernel ends it with its holder,
however that ends. The file stays, and says who holds it; a holder that was killed leaves its text.

The files are in /tmp, and not where TMPDIR points, which differs between users and jobs, nor in
/dev/shm, which candidates may write to. TRITONEXP_LEASES names another folder: all processes that
are to keep out of each other's way need the same one, with mode 1777 if they are several users'.

Several may share a lease, as those who verify do; whoever waits to have it alone is next.

Within a process, a lease is one thread's. That thread may take it again, and gives it back when it
has left as often as it has entered; other threads wait like other processes. A forked child holds
nothing of its parent's: it waits like any other process.

Does not cover: processes that ask for no lease; containers or jobs with a /tmp of their own, unless
they are given a folder in common; a file that its owner or root removes while it is held; MIG
instances, each of which has a UUID and so a lease of its own; a user who means harm, and can hold a
lease for ever; a child that native code forks and that never calls exec, which keeps the lease.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fcntl
import json
import math
import os
import re
import shlex
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tritonexp.errors import ConfigError, LeaseError

FOLDER = Path("/tmp")  # noqa: S108 - where all users meet; nothing that was planted is followed
WAIT_S = 3600.0
POLL_S = 0.1
# between two words on who is waited for
TELL_S = 60.0
# readable and writable for all: one user's process must be able to wait for another's
MODE = 0o666
# as long as another's new file may not have its mode yet, or has just been removed
OPEN_TRIES = 10
OPEN_PAUSE_S = 0.01
MAX_TEXT_BYTES = 4096
MAX_COMMAND = 160
UNKNOWN = "a process that does not say which"


@dataclass
class _Turn:
    """What this process has of one GPU's lease."""

    process_id: int = field(default_factory=os.getpid)
    lock: threading.RLock = field(default_factory=threading.RLock)
    depth: int = 0
    shared: bool = False
    descriptor: int = -1


_turns: dict[str, _Turn] = {}
# a lease belongs to the open file, which a fork shares: a child must close what is listed here
_descriptors: set[int] = set()
_listing = threading.RLock()


def _forget() -> None:
    """In a forked child: close what the parent holds, which leaves it the parent's."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _turns.clear()
    _listing.release()


# no fork falls between a file's opening and its listing
os.register_at_fork(
    before=_listing.acquire, after_in_parent=_listing.release, after_in_child=_forget
)


@contextlib.contextmanager
def leased(
    gpu_uuid: str,
    *,
    shared: bool = False,
    wait_s: float = WAIT_S,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold a GPU alone within the block, after waiting for whoever holds it.

    Or `shared` with others who hold it so. `progress` is told who is waited for, at once and then
    every minute. `wait_s` of 0 does not wait, and infinity has no limit. Raises LeaseError where
    the GPU is still held after that, where no lease can be had at all, and where this thread shares
    it and would have it alone as well; ConfigError for a wait_s below 0.
    """
    if math.isnan(wait_s) or wait_s < 0:
        raise ConfigError(f"wait_s={wait_s} is no time to wait for a GPU; give 0 or more seconds.")
    path = _path_of(gpu_uuid)
    turn = _turns.setdefault(str(path), _Turn())
    _enter(turn, path, _Patience(path, wait_s, progress), shared=shared)
    try:
        yield
    finally:
        _leave(turn)


def describe(gpu_uuid: str) -> str:
    """Say whether a GPU's lease is free; raises LeaseError where none can be had."""
    path = _path_of(gpu_uuid)
    descriptor = _try_lock(path)
    if descriptor is None:
        return f"held by {_holder(path)}: {path}"
    _unlock(descriptor)
    return f"free: {path}"


class _Patience:
    """How long somebody waits, and what they are told meanwhile."""

    def __init__(self, path: Path, wait_s: float, progress: Callable[[str], None]) -> None:
        self._path = path
        self._wait_s = wait_s
        self._progress = progress
        self._deadline = time.monotonic() + wait_s
        self._tell_at = -math.inf

    def next_wait_s(self, who: Callable[[], str]) -> float:
        """Seconds until the next try; raises LeaseError where none is left."""
        now = time.monotonic()
        if now >= self._deadline:
            raise LeaseError(
                f"the GPU is held by {who()}, and {self._wait_s:g} s were allowed to wait for it."
                " Wait until that has ended, end it, or name another GPU in CUDA_VISIBLE_DEVICES."
                f" (The lease is {self._path}.)"
            )
        if now >= self._tell_at:
            self._progress(f"waiting for the GPU, which is held by {who()}")
            self._tell_at = now + TELL_S
        return min(POLL_S, self._deadline - now)


def _enter(turn: _Turn, path: Path, patience: _Patience, *, shared: bool) -> None:
    while not turn.lock.acquire(blocking=False):
        time.sleep(patience.next_wait_s(lambda: "another thread of this process"))
    try:
        if turn.depth == 0:
            turn.descriptor, turn.shared = _lock(path, patience, shared=shared), shared
        elif turn.shared and not shared:
            # two that did so would wait for each other for ever
            raise LeaseError(  # noqa: TRY301 - the lock is given back like after any other
                f"this process shares the lease {path} with others, and cannot have it alone before"
                " it has given that back."
            )
        turn.depth += 1
    except BaseException:
        turn.lock.release()
        raise


def _leave(turn: _Turn) -> None:
    if turn.process_id != os.getpid():
        # a forked child leaves the block in which it was forked: the lease is the parent's
        return
    turn.depth -= 1
    try:
        if turn.depth == 0 and _signer(turn.descriptor) == os.getpid():
            # what stays would name a holder that is none; who shares it may have signed since
            os.ftruncate(turn.descriptor, 0)
    finally:
        if turn.depth == 0:
            _unlock(turn.descriptor)
        turn.lock.release()


def _lock(path: Path, patience: _Patience, *, shared: bool) -> int:
    """Wait for a file's lock, and sign the file."""
    # who waits stands at the door meanwhile, and a holder that comes back at once is behind them
    door = _wait_for(path.with_suffix(".queue"), path, patience)
    try:
        descriptor = _wait_for(path, path, patience, shared=shared)
    finally:
        _unlock(door)
    try:
        with _told_of(path):
            _sign(descriptor)
    except BaseException:
        _unlock(descriptor)
        raise
    return descriptor


def _wait_for(path: Path, lease: Path, patience: _Patience, *, shared: bool = False) -> int:
    while (descriptor := _try_lock(path, shared=shared)) is None:
        time.sleep(patience.next_wait_s(lambda: _holder(lease)))
    return descriptor


def _try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor of a file that is locked for us; None where another has it.

    Raises LeaseError for a file that nobody could lock.
    """
    with _told_of(path):
        with _listing:
            descriptor = _open(path)
            _descriptors.add(descriptor)
        is_ours = False
        try:
            is_ours = _flocked(descriptor, path, shared=shared)
        finally:
            if not is_ours:
                _unlock(descriptor)
    return descriptor if is_ours else None


def _flocked(descriptor: int, path: Path, *, shared: bool) -> bool:
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        # a file that was removed meanwhile is one that nobody else will find
        there = path.stat(follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _unlock(descriptor: int) -> None:
    with _listing:
        _descriptors.discard(descriptor)
        try:
            # not only closed: a child on its way to exec may still share the file
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    """Open a lease file, made where it is absent; raises OSError for anything but a plain file."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for tries_left in reversed(range(OPEN_TRIES)):
        try:
            # O_CREAT on another's file is refused in a sticky folder (fs.protected_regular)
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, MODE)
            except FileExistsError:
                continue
        except PermissionError:
            if not tries_left:
                raise
            time.sleep(OPEN_PAUSE_S)
            continue
        try:
            if _made_ready(descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(errno.EAGAIN, "it is being removed again and again")


def _made_ready(descriptor: int) -> bool:
    """Whether it is a lease's file that is still there; raises OSError for anything else."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    if found.st_nlink > 1:
        # signing it would overwrite a file that somebody linked here
        raise OSError(errno.EMLINK, "it is a second name of another file")
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != MODE:
        # whatever the umask took from it
        os.fchmod(descriptor, MODE)
    return found.st_nlink == 1


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Raise LeaseError for a lease that cannot be had: without one, nothing may be measured."""
    try:
        yield
    except OSError as error:
        raise LeaseError(
            f"no lease of the GPU can be had: {path} cannot be used ({error.strerror}). It must be"
            " a plain file that all users may write, in a folder where they may make one: remove"
            " what is in its place, or name a folder of mode 1777 in TRITONEXP_LEASES."
        ) from error


def _path_of(gpu_uuid: str) -> Path:
    # CUDA gives a GPU's UUID without the prefix that NVML gives it with
    bare = gpu_uuid.removeprefix("GPU-").lower()
    if not re.fullmatch(r"[0-9a-z-]{1,64}", bare):
        raise ConfigError(
            f"{gpu_uuid!r} is no UUID of a GPU; give one as `nvidia-smi -L` lists it."
        )
    chosen = os.environ.get("TRITONEXP_LEASES")
    return (Path(chosen) if chosen else FOLDER) / f"tritonexp-gpu-{bare}.lease"


def _sign(descriptor: int) -> None:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:MAX_COMMAND]
    since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    text = json.dumps({"pid": os.getpid(), "command": command, "since": since})
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _signer(descriptor: int) -> object:
    """The process that says it holds a lease."""
    try:
        return json.loads(os.pread(descriptor, MAX_TEXT_BYTES, 0))["pid"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _holder(path: Path) -> str:
    """Who says that they hold a lease; anybody may have written anything there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return UNKNOWN
    try:
        said = json.loads(os.pread(descriptor, MAX_TEXT_BYTES, 0))
        process_id, command, since = (_shown(said[name]) for name in ("pid", "command", "since"))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return UNKNOWN
    finally:
        os.close(descriptor)
    return f"process {process_id} ({command}) since {since}, by its own account"


def _shown(said: object) -> str:
    """Text for a terminal: short, and without control characters."""
    return "".join(one if one.isprintable() else "?" for one in str(said)[:MAX_COMMAND])
