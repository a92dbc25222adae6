"""The referee's handle on one worker, and what the ways in which a worker fails are called."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from tritonexp.evaluation import sandbox
from tritonexp.evaluation.channel import (
    Channel,
    ChannelClosedError,
    ChannelGarbageError,
    ChannelTimeoutError,
)
from tritonexp.evaluation.forkserver import ForkServer
from tritonexp.evaluation.memory import Arena
from tritonexp.records import Implementation, Status

# by the names of an exception's classes, most telling first; what is not here is RUNTIME_ERROR
_STATUS_BY_TYPE = (
    ("OutOfMemoryError", Status.OUT_OF_MEMORY),
    ("MemoryError", Status.OUT_OF_MEMORY),
    ("OutOfResources", Status.COMPILE_ERROR),
    ("CompilationError", Status.COMPILE_ERROR),
    ("PTXASError", Status.COMPILE_ERROR),
    ("MLIRCompilationError", Status.COMPILE_ERROR),
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


class WorkerFailedError(Exception):
    """A worker did not do what it was asked to; caught by the referee, and made a status."""

    def __init__(self, status: Status, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.log = log


class WorkerProcess:
    """A worker that holds one implementation."""

    def __init__(
        self,
        server: ForkServer,
        implementation: Implementation,
        arena: Arena,
        cache: Path | None = None,
    ) -> None:
        """Fork it; `cache` is another worker's of the same implementation, to compile only once."""
        self.implementation = implementation
        self.arena = arena
        self.alive = True
        self._server = server
        self._folder = Path(tempfile.mkdtemp(dir=server.folder, prefix=f"{implementation.name}-"))
        self._source = self._folder / f"{implementation.name}.py"
        self._source.write_text(implementation.source)
        self._channel, theirs = Channel.pair()
        self.cache = cache or self._folder
        self._process_id = server.fork(self._folder, self.cache, theirs, arena.descriptor)
        theirs.close()
        self._command = ""
        self._exit_code = 0

    def ask(self, command: str, **fields: Any) -> None:
        """Send a request; `answer` must follow."""
        self._command = command
        try:
            self._channel.ask(command, **fields)
        except (ChannelClosedError, ChannelTimeoutError):
            # found out with its exit code by `answer`
            return

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """The answer to the last request; raises WorkerFailedError for anything else."""
        try:
            message = self._channel.answer(timeout_s)
        except ChannelTimeoutError:
            log = self._end()
            raise WorkerFailedError(
                Status.TIMEOUT,
                f"{self._what()} took longer than the limit of {timeout_s:.0f} s, and was killed",
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

    def ask_start(self, command: str) -> None:
        """Ask for a step of the start: attach maps the arena, load imports the file."""
        fields: dict[str, Any] = {}
        if command == "attach":
            fields = {"handle": self.arena.handle()}
        elif command == "load":
            fields = {
                "path": str(self._source),
                "entry_point": self.implementation.entry_point,
            }
        self.ask(command, **fields)

    def close(self) -> None:
        """End the worker, whatever it is doing, and remove its folder."""
        if self.alive:
            self._end()

    def _end(self, grace_s: float = 0.0) -> str:
        """Kill the whole group, and return the end of what it printed."""
        if not grace_s:
            sandbox.kill_group(self._process_id)
        self._exit_code = self._server.reap(self._process_id, grace_s)
        # what it forked is in the same group, and outlives it
        sandbox.kill_group(self._process_id)
        self.alive = False
        self._channel.close()
        log = ""
        with contextlib.suppress(OSError), (self._folder / "log.txt").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - sandbox.LOG_BYTES))
            log = file.read().decode(errors="replace")
        shutil.rmtree(self._folder, ignore_errors=True)
        return log

    def _what(self) -> str:
        return {
            "load": "importing the file",
            "run": "a call",
            "capture": "capturing the call in a CUDA graph",
        }.get(self._command, self._command)

    def _died(self) -> WorkerFailedError:
        # its end of the channel closes a moment before the process is gone
        log = self._end(grace_s=2.0)
        code = self._exit_code
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
