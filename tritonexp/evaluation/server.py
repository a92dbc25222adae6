"""The process that workers are forked from, and that keeps them within their limits.

It holds torch and triton, has not touched CUDA, and runs no implementation's code. Started as
`python -m tritonexp.evaluation.server FD SETTINGS FOLDER`, with forkserver's `Settings` as JSON,
and the folder of its crews, which it removes at its end.

What no limit of the kernel's bounds for a user's own processes, it looks at four times a second:
how many a worker has started, how much memory a crew has, and how much it has written. Between two
looks a worker can go beyond a limit, by what a machine can do in a quarter of a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import confinement, sandbox
from tritonexp.evaluation.channel import Channel, ChannelClosedError
from tritonexp.evaluation.forkserver import OTHERS_MEMORY, Places, Settings, log_in

LOOK_S = 0.25
# a worker with its compilers; torch.compile has a pool of them
MAX_PROCESSES = 128
MAX_FOLDER_BYTES = 2 << 30
# of folders in a crew's folder: compilers use a few
MAX_DEPTH = 64
# of the machine's memory, for the workers of one implementation together, and for one of them
MAX_MEMORY_SHARE = 0.5
MAX_WORKER_SHARE = 0.25
# whatever the machine has: what is computed lies on the GPU
MAX_WORKER_BYTES = 8 << 30
# of the machine's memory, below which nobody's programs would last long
LEAST_FREE_SHARE = 0.03
# of what a crew may have, below which others may be to blame for the rest
BLAMELESS_SHARE = 0.25
# of what went since a crew was forked, from which it is the crew that took it
BLAMED_SHARE = 0.5
KIB = 1024
# of a process's status: what is neither a file's nor swapped
OWN_MEMORY = ("RssAnon:", "RssShmem:")
BLOCK_BYTES = 512


@dataclass
class Crew:
    """Processes of one implementation, by process id, and their folder."""

    folder: Path
    # all of them, and those of them that compile
    workers: set[int]
    compilers: set[int]
    # of the machine's memory as they were forked: what was left, and what shows as no process's
    free_bytes: int = field(default_factory=lambda: _memory_bytes("MemAvailable"))
    shared_bytes: int = field(default_factory=lambda: _memory_bytes("Shmem"))


class Server:
    """Forks, watches and reaps."""

    def __init__(self, control: Channel, settings: Settings) -> None:
        """Import what workers need; raises what an import raises."""
        # these imports are the point of this process
        from tritonexp.evaluation import compiler, worker

        self._worker_main = worker.main
        self._compiler_main = compiler.main
        self._prepare = worker.create_context if settings.compute_capability else None
        self._start_profiler = worker.start_profiler
        from tritonexp.evaluation.warmup import warm_compiler, warm_interpreter

        if settings.compute_capability:
            warm_compiler(int(settings.compute_capability.replace(".", "")))
        else:
            warm_interpreter()
        _import_all(settings.preload)
        package = Path(__file__).resolve().parents[1]
        self._walls = (
            confinement.Confinement(package, settings.hidden) if settings.sandbox else None
        )
        self._control = control
        self._crews: list[Crew] = []
        self._ended_for: dict[int, str] = {}
        memory_bytes = _memory_bytes("MemTotal")
        self._max_memory_bytes = int(MAX_MEMORY_SHARE * memory_bytes)
        self._max_worker_bytes = min(MAX_WORKER_BYTES, int(MAX_WORKER_SHARE * memory_bytes))
        self._least_free_bytes = int(LEAST_FREE_SHARE * memory_bytes)
        # shared with each fork, where it shows as the fork's own
        self._inherited_bytes = _own_bytes(Path("/proc/self"))

    def serve(self) -> None:
        """Do what the referee asks for until its end closes; then end every worker."""
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "ready": lambda **_: {},
            "fork": self._fork,
            "reap": self._reap,
        }
        looked_s = time.monotonic()
        try:
            while True:
                is_asked = False
                while not is_asked:
                    is_asked = Channel.wait([self._control], LOOK_S)[0]
                    # by the clock: requests may come faster than that
                    if time.monotonic() - looked_s >= LOOK_S:
                        self._look()
                        looked_s = time.monotonic()
                request, descriptors = self._control.serve()
                command = commands[request.pop("command")]
                self._control.reply(**command(descriptors=descriptors, **request))
        except ChannelClosedError:
            return
        finally:
            workers = [worker for crew in self._crews for worker in crew.workers]
            for worker in workers:
                sandbox.kill_group(worker)
            for worker in workers:
                _wait(worker, 0.0)

    def _fork(self, folder: str, places: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        wanted = Places(**places)
        crew = Crew(Path(folder), set(), set())
        turn = os.memfd_create("turn")
        forked = []
        for index, descriptor in enumerate(descriptors):
            process_id = os.fork()
            if process_id == 0:
                self._control.close()
                self._become_one(crew.folder, descriptors[index:], turn, index, wanted)
            os.close(descriptor)
            forked.append(process_id)
        os.close(turn)
        crew.workers.update(forked)
        crew.compilers.update(forked[wanted.workers :])
        self._crews.append(crew)
        return {"process_ids": forked}

    def _reap(self, process_id: int, grace_s: float, descriptors: list[int]) -> dict[str, Any]:
        del descriptors
        code = _wait(process_id, grace_s)
        for crew in self._crews:
            crew.workers.discard(process_id)
        self._crews = [crew for crew in self._crews if crew.workers]
        return {"exit_code": code, "why": self._ended_for.pop(process_id, "")}

    def _become_one(
        self, folder: Path, descriptors: list[int], turn: int, index: int, places: Places
    ) -> NoReturn:
        code = 70
        try:
            # the first is its own end of a channel, the others are those of workers after it
            own, *others = descriptors
            for descriptor in others:
                os.close(descriptor)
            sandbox.confine(folder)
            log = os.open(log_in(folder, index), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            walls = self._walls
            if walls is not None:
                # an interpreter's worker, and a compiler, could disturb who is timed
                works_there = self._prepare is not None and index < places.workers
                walls.confine(folder, gpu=works_there)
            seal = functools.partial(walls.seal, folder) if walls is not None else _leave_open
            channel = Channel(socket.socket(fileno=own))
            if index < places.workers:
                self._work(channel, seal, turn, profile=places.profile)
            else:
                os.close(turn)
                # it may work for the next candidate while one is timed
                with contextlib.suppress(OSError):
                    # not every container's kernel knows it
                    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                # nothing that it calls may find the GPU
                os.environ["CUDA_VISIBLE_DEVICES"] = ""
                seal()
                self._compiler_main(channel)
            code = 0
        finally:
            # no atexit handlers, no buffers: nothing of a candidate's runs after its last answer
            os._exit(code)

    def _work(
        self, channel: Channel, seal: Callable[[], None], turn: int, *, profile: bool
    ) -> None:
        # one after the other, as the driver would do it too, but so that the first is ready soon; a
        # lock of the process, which nothing keeps that outlives it
        fcntl.lockf(turn, fcntl.LOCK_EX)
        if self._prepare is not None:
            self._prepare()
        os.close(turn)
        if profile:
            self._start_profiler()
        self._worker_main(channel, seal)

    def _look(self) -> None:
        """End the crews that are over a limit."""
        if not self._crews:
            return
        processes, memory_bytes = _of_groups(self._inherited_bytes)
        # whoever has the most, though not all of it shows as any process's
        largest = max(
            self._crews, key=lambda crew: sum(memory_bytes[worker] for worker in crew.workers)
        )
        for crew in self._crews:
            for compiler in crew.compilers & crew.workers:
                # nobody depends on it
                if memory_bytes[compiler] > self._max_worker_bytes:
                    sandbox.kill_group(compiler)
                    memory_bytes[compiler] = 0
            why = (
                _too_many(crew, processes)
                or self._too_much_memory(crew, memory_bytes, is_largest=crew is largest)
                or _too_much_written(crew)
            )
            if why:
                for worker in crew.workers:
                    self._ended_for.setdefault(worker, why)
                    sandbox.kill_group(worker)

    def _too_much_memory(self, crew: Crew, memory_bytes: Counter[int], *, is_largest: bool) -> str:
        taken = [memory_bytes[worker] for worker in crew.workers]
        if max(taken) > self._max_worker_bytes:
            return f"a worker had taken more than {_gib(self._max_worker_bytes)} of memory"
        if sum(taken) > self._max_memory_bytes:
            return f"its workers had taken more than {_gib(self._max_memory_bytes)} of memory"
        free_bytes = _memory_bytes("MemAvailable")
        if free_bytes < self._least_free_bytes and is_largest:
            left = f"the machine had only {free_bytes >> 20} MiB of memory left"
            if self._is_to_blame(crew, sum(taken), free_bytes):
                return left
            return f"{OTHERS_MEMORY}: {left}, and these workers had taken {sum(taken) >> 20} MiB"
        return ""

    def _is_to_blame(self, crew: Crew, taken_bytes: int, free_bytes: int) -> bool:
        """Whether it is a crew that left the machine no memory, and not what else runs there."""
        # what it may have taken without a trace at any process
        taken_bytes += max(0, _memory_bytes("Shmem") - crew.shared_bytes)
        if taken_bytes >= BLAMELESS_SHARE * self._max_memory_bytes:
            return True
        gone_bytes = crew.free_bytes - free_bytes
        # where there was none left before, nothing follows from what went since
        was_there = crew.free_bytes >= self._least_free_bytes
        return was_there and taken_bytes >= BLAMED_SHARE * gone_bytes


def _too_many(crew: Crew, processes: Counter[int]) -> str:
    if max(processes[worker] for worker in crew.workers) > MAX_PROCESSES:
        return f"a worker had started more than {MAX_PROCESSES} processes"
    return ""


def _too_much_written(crew: Crew) -> str:
    written_bytes = _bytes_below(crew.folder)
    if written_bytes is None:
        return f"its folder was nested deeper than {MAX_DEPTH}, or could not be read"
    if written_bytes > MAX_FOLDER_BYTES:
        return f"its workers had written more than {_gib(MAX_FOLDER_BYTES)}"
    return ""


def _leave_open() -> None:
    """Where there is no sandbox there is nothing to close."""


def _import_all(modules: tuple[str, ...]) -> None:
    """Import what workers will need; raises EvaluationError if that initialises CUDA."""
    import torch

    for module in modules:
        # a module that is missing is its own worker's failure, and told there
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    if torch.cuda.is_initialized():
        raise EvaluationError(
            f"importing {', '.join(modules)} initialised CUDA, so no worker can be forked after it;"
            " leave that expert out with expert=none."
        )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.3g} GiB"


def _wait(process_id: int, grace_s: float) -> int:
    deadline = time.monotonic() + grace_s
    while True:
        found, status = os.waitpid(process_id, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            sandbox.kill_group(process_id)
        time.sleep(0.002)


def _of_groups(inherited_bytes: int) -> tuple[Counter[int], Counter[int]]:
    """The processes of each process group, and their own memory in bytes.

    Without what the first of each group shares with us, who forked it.
    """
    processes: Counter[int] = Counter()
    memory_bytes: Counter[int] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        # a process may be gone by now
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = (process / "stat").read_text()
            # the name is in brackets and may hold anything; state, parent and group follow it
            group = int(stat.rpartition(")")[2].split()[2])
            processes[group] += 1
            is_fork = process.name == str(group)
            own_bytes = _own_bytes(process) - (inherited_bytes if is_fork else 0)
            memory_bytes[group] += max(0, own_bytes)
    return processes, memory_bytes


def _own_bytes(process: Path) -> int:
    """What a process has in memory that is no file's."""
    return KIB * sum(
        int(line.split()[1])
        for line in (process / "status").read_text().splitlines()
        if line.startswith(OWN_MEMORY)
    )


def _memory_bytes(name: str) -> int:
    """A figure of the machine's memory; endless where the kernel does not tell it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    return sys.maxsize


def _bytes_below(folder: Path) -> int | None:
    """What lies in a folder; None where that cannot be known."""
    found = 0
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > MAX_DEPTH:
            return None
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    # an empty one takes room too
                    found += BLOCK_BYTES
                    with contextlib.suppress(FileNotFoundError):
                        found += entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append((Path(entry.path), depth + 1))
        except FileNotFoundError:
            # removed meanwhile
            continue
        except OSError:
            return None
    return found


def main() -> None:
    """Serve the referee at the given descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # no signal at the referee's end: its end of the channel closes, and every worker is ended first
    given = json.loads(sys.argv[2])
    settings = Settings(
        compute_capability=given["compute_capability"],
        preload=tuple(given["preload"]),
        hidden=tuple(given["hidden"]),
        sandbox=given["sandbox"],
    )
    # what it cannot start for is told by its log, which the referee reads and removes
    server = Server(Channel(socket.socket(fileno=int(sys.argv[1]))), settings)
    try:
        server.serve()
    finally:
        # the referee does so too, unless it was killed
        sandbox.remove(Path(sys.argv[3]))
    # the referee waits for its end, and taking all that is imported down takes a second or more
    os._exit(0)


if __name__ == "__main__":
    main()
