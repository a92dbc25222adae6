"""The referee's handle on workers, and what the ways in which a worker fails are called."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import sandbox
from tritonexp.evaluation.channel import (
    ChannelClosedError,
    ChannelGarbageError,
    ChannelTimeoutError,
)
from tritonexp.evaluation.forkserver import OTHERS_MEMORY, Forks, ForkServer, Places, log_in
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.offline.targets import device_of
from tritonexp.records import Gpu, Implementation, Status, to_json

# by the names of an exception's classes, most telling first; what is not here is RUNTIME_ERROR
_STATUS_BY_TYPE = (
    ("OutOfMemoryError", Status.OUT_OF_MEMORY),
    ("MemoryError", Status.OUT_OF_MEMORY),
    ("OutOfResources", Status.COMPILE_ERROR),
    ("CompilationError", Status.COMPILE_ERROR),
    ("PTXASError", Status.COMPILE_ERROR),
    ("MLIRCompilationError", Status.COMPILE_ERROR),
    ("MissingEntryPointError", Status.MISSING_ENTRY_POINT),
)
# how CUDA words a fault that leaves the context unusable
_FAULTS = (
    "illegal memory access",
    "misaligned address",
    "device-side assert",
    "unspecified launch failure",
    "illegal instruction",
    "hardware stack error",
    "invalid program counter",
)


START_TIMEOUT_S = 60.0
# of its processor time, after which a worker does not serve another candidate: CUDA waits by
# spinning, and one evaluation takes far less than the other half
WORN_SHARE = 0.5
# a thread that does nothing else is through with being continued by then
MAX_UNREST_S = 2e-3


def legible(text: str) -> str:
    """Text without what no file can hold, such as half of a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()


class WorkerFailedError(Exception):
    """A worker did not do what it was asked to; caught by the referee, and made a status."""

    def __init__(self, status: Status, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.status = status
        # in part an implementation's words
        self.reason = legible(reason)
        self.log = legible(log)


class Crew:
    """The processes of one implementation; they share a folder, and so what each compiles."""

    def __init__(
        self,
        server: ForkServer,
        implementation: Implementation,
        arenas: Sequence[Arena] = (),
        *,
        held: int = 0,
        compilers: int = 0,
        gpu: Gpu | None = None,
        profile: bool = False,
    ) -> None:
        """Take a worker for each arena, and have each import the implementation.

        Or take as many as are to be `held` until `start` is called. The compilers import it at
        once, and compile for the `gpu`. Only with `profile` can workers be asked to profile.
        Raises EvaluationError where none can be forked.
        """
        places = Places(len(arenas) or held, compilers if gpu is not None else 0, profile)
        self._forks = server.fork(places)
        self.server = server
        self.implementation = implementation
        # of any of the workers, compiling included
        self.first_call_s: float | None = None
        # of that call, by the worker's own account
        self.compile_s: float | None = None
        self.autotune_s: float | None = None
        self._source = self._forks.folder / f"{implementation.name}.py"
        self._source.write_text(implementation.source)
        self.workers = [
            WorkerProcess(server, self._forks, index, implementation)
            for index in range(places.workers)
        ]
        self.compilers = [
            ChildProcess(server, self._forks, index, implementation)
            for index in range(places.workers, places.count)
        ]
        if gpu is not None:
            device = to_json(device_of(gpu))
            for compiler in self.compilers:
                compiler.ask(
                    "load",
                    path=str(self._source),
                    entry_point=implementation.entry_point,
                    device=device,
                )
        if arenas:
            self.start(arenas)

    def start(self, arenas: Sequence[Arena]) -> None:
        """Have each worker import the implementation, with an arena of its own to work on.

        What that comes to is known to each worker's `finish_start`.
        """
        for worker, arena in zip(self.workers, arenas, strict=True):
            worker.ask_start(str(self._source), arena)

    @property
    def worn(self) -> bool:
        """Whether a worker has used so much processor time that its limit may end it soon."""
        return any(worker.processor_s > WORN_SHARE * sandbox.MAX_CPU_S for worker in self.workers)

    def close(self) -> None:
        """End all of them, whatever they are doing, and remove their folder."""
        end_all([*self.workers, *self.compilers])
        self._forks.remove()


class ChildProcess:
    """A process that was forked for one implementation."""

    def __init__(
        self, server: ForkServer, forks: Forks, index: int, implementation: Implementation
    ) -> None:
        self.implementation = implementation
        self.alive = True
        self.channel = forks.channels[index]
        self._server = server
        self._process_id = forks.process_ids[index]
        self._log = log_in(forks.folder, index)
        self._asked: deque[str] = deque()
        self._command = ""
        self._exit_code = 0
        self._ended_for = ""

    def ask(self, command: str, descriptors: tuple[int, ...] = (), **fields: Any) -> None:
        """Send a request; `answer` must follow, for each in turn."""
        self._asked.append(command)
        try:
            self.channel.ask(command, descriptors, **fields)
        except (ChannelClosedError, ChannelTimeoutError):
            # found out with its exit code by `answer`
            return

    def answer(self, timeout_s: float, limit_s: float | None = None) -> dict[str, Any]:
        """The answer to the oldest request; raises WorkerFailedError for anything else.

        `limit_s` is the whole limit, where a part of it has gone by. Raises EvaluationError where
        the process was ended for what others did to the machine.
        """
        self._command = self._asked.popleft()
        try:
            message = self.channel.answer(timeout_s)
        except ChannelTimeoutError:
            log = self._end()
            raise WorkerFailedError(
                Status.TIMEOUT,
                f"{self._what()} took longer than the limit of"
                f" {timeout_s if limit_s is None else limit_s:.0f} s, and was killed",
                log,
            ) from None
        except ChannelClosedError:
            raise self._died() from None
        except ChannelGarbageError as error:
            log = self._end()
            raise WorkerFailedError(
                Status.TAMPERING, f"the worker's private channel carried {error}", log
            ) from None
        if "error" in message:
            said = message["error"]
            if not isinstance(said, dict) or not isinstance(said.get("types"), list):
                raise WorkerFailedError(
                    Status.TAMPERING, f"a worker answered error={str(said)[:80]!r}"
                )
            raise self._raised(said)
        return message

    def call(self, command: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
        """Ask and wait for the answer."""
        self.ask(command, **fields)
        return self.answer(timeout_s)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the worker, and all that it started, stand still within the block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process_id, number)

    @property
    def idle(self) -> bool:
        """Whether it lives and owes no answer."""
        return self.alive and not self._asked

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that it has used; what it started counts apart."""
        return sandbox.processor_s(self._process_id)

    def threads_us(self) -> dict[int, float]:
        """Microseconds that each of its threads has run but for the one that serves, by its id."""
        return sandbox.threads_us(self._process_id)

    def threads_at_rest_us(self) -> dict[int, float]:
        """The same when none of them runs, as each does where a process is continued."""
        end = time.monotonic() + MAX_UNREST_S
        while sandbox.threads_run(self._process_id) and time.monotonic() < end:
            pass
        return self.threads_us()

    def kill(self) -> None:
        """Begin the worker's end; `close` waits for it."""
        if self.alive:
            sandbox.kill_group(self._process_id)

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        if self.alive:
            self._end()

    def _end(self, grace_s: float = 0.0) -> str:
        """Kill the whole group, and return the end of what it printed."""
        if not self.alive:
            # its number may be another's by now
            return _end_of(self._log)
        if not grace_s:
            sandbox.kill_group(self._process_id)
        self._exit_code, self._ended_for = self._server.reap(self._process_id, grace_s)
        # what it forked is in the same group, and outlives it
        sandbox.kill_group(self._process_id)
        self.alive = False
        self.channel.close()
        return _end_of(self._log)

    def _what(self) -> str:
        return {
            "load": "importing the file",
            "run": "a call",
            "count": "a call in the interpreter",
            "profile": "a call under the profiler",
            "capture": "capturing the call in a CUDA graph",
        }.get(self._command, self._command)

    def _died(self) -> WorkerFailedError:
        # its end of the channel closes a moment before the process is gone
        log = self._end(grace_s=2.0)
        code = self._exit_code
        if self._ended_for.startswith(OTHERS_MEMORY):
            raise EvaluationError(
                f"the workers of {self.implementation.name} were ended, since {self._ended_for}."
                " Nothing is said of this implementation; end what else uses the memory, and run"
                " it again."
            )
        if self._ended_for:
            status = Status.OUT_OF_MEMORY if "memory" in self._ended_for else Status.CRASHED
            return WorkerFailedError(status, f"it was ended, since {self._ended_for}", log)
        if code == -signal.SIGXCPU:
            return WorkerFailedError(
                Status.TIMEOUT, f"the process used up its {sandbox.MAX_CPU_S} s of processor", log
            )
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = f"signal {-code}"
            return WorkerFailedError(
                Status.CRASHED, f"the process was ended by {name} during {self._what()}", log
            )
        return WorkerFailedError(
            Status.CRASHED,
            f"the process ended itself with exit code {code} during {self._what()}",
            log,
        )

    def _raised(self, error: dict[str, Any]) -> WorkerFailedError:
        types = [str(name) for name in error.get("types", [])]
        message = str(error.get("message", ""))
        log = str(error.get("traceback", ""))
        name = types[0] if types else "an exception"
        first = next((line.strip() for line in message.splitlines() if line.strip()), "")
        reason = f"{name}: {first}" if first else name
        # the first line only: torch closes every CUDA error with advice that names some of them
        if any(fault in first for fault in _FAULTS):
            # the CUDA context is lost with it
            self.close()
            return WorkerFailedError(Status.CRASHED, reason, log)
        for known, status in _STATUS_BY_TYPE:
            if known in types:
                return WorkerFailedError(status, reason, log)
        if self._command == "load":
            status = Status.SYNTAX_ERROR if "SyntaxError" in types else Status.IMPORT_ERROR
            return WorkerFailedError(status, reason, log)
        return WorkerFailedError(Status.RUNTIME_ERROR, reason, log)


class WorkerProcess(ChildProcess):
    """A worker that holds one implementation, and works on an arena."""

    def __init__(
        self,
        server: ForkServer,
        forks: Forks,
        index: int,
        implementation: Implementation,
    ) -> None:
        super().__init__(server, forks, index, implementation)
        self.arena: Arena
        self.started = False

    def ask_start(self, source: str, arena: Arena) -> None:
        """Ask for the steps of the start: map the arena, import the file."""
        self.arena = arena
        descriptor = arena.descriptor
        self.ask(
            "attach",
            () if descriptor is None else (descriptor,),
            handle=arena.handle(),
        )
        self.ask("load", path=source, entry_point=self.implementation.entry_point)
        if self.implementation.name == "compile":
            self.ask("compile")

    def finish_start(self, timeout_s: float) -> None:
        """Wait until the start is done; raises what `step_start` raises."""
        while not self.started:
            self.step_start(timeout_s)

    def step_start(self, timeout_s: float) -> None:
        """Wait for one step of the start; raises WorkerFailedError where the import failed.

        Raises EvaluationError where the worker failed before it knew the implementation, unless it
        was ended for what others of its crew did with it.
        """
        try:
            self.answer(timeout_s, START_TIMEOUT_S)
        except WorkerFailedError as failure:
            self.started = True
            self.close()
            # a file that goes beyond a limit in a compiler ends the crew before it has begun
            if self._command != "attach" or self._ended_for:
                raise
            raise EvaluationError(
                f"a worker could not be started: {failure.reason}. If the GPU's memory is full,"
                " end what else uses it; otherwise: python -m tritonexp doctor"
            ) from failure
        self.started = not self._asked


def _end_of(log: Path) -> str:
    """The last of what was printed; nothing where something else is in the log's place."""
    try:
        # neither a link to another file nor a pipe that nobody writes to
        descriptor = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - sandbox.LOG_BYTES))
        return file.read().decode(errors="replace")


def end_all(workers: Sequence[ChildProcess]) -> None:
    """End processes side by side: tearing a CUDA context down takes a while."""
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.close()
