"""A process with torch and triton imported and CUDA untouched, from which workers are forked.

A worker forked from it is ready in a fraction of a second, where a fresh one imports for several.
`ForkServer` is the referee's side; the server is
`python -m tritonexp.evaluation.forkserver FD CAPABILITY [MODULE ...]`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import sandbox
from tritonexp.evaluation.channel import (
    Channel,
    ChannelClosedError,
    ChannelGarbageError,
    ChannelTimeoutError,
)

START_TIMEOUT_S = 120.0


class ForkServer:
    """Starts workers; closing it ends all of them and removes their folders."""

    def __init__(self, compute_capability: str | None, preload: Sequence[str] = ()) -> None:
        """Start it, for a GPU of a compute capability as in 9.0, or for the interpreter (None).

        `preload` names modules that its workers will import, such as an expert's, which can take
        seconds. A candidate must not be forked from a server that holds an expert.
        """
        self.interpret = compute_capability is None
        self.folder = Path(tempfile.mkdtemp(prefix="tritonexp-"))
        self._control, theirs = Channel.pair()
        self._log = (self.folder / "forkserver.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
            [
                sys.executable,
                "-m",
                "tritonexp.evaluation.forkserver",
                str(theirs.fileno()),
                (compute_capability or "").replace(".", ""),
                *preload,
            ],
            env=sandbox.environment(self.folder, interpret=self.interpret)
            | {"PYTHONPATH": _python_path()},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            # out of the terminal's group: an interrupt is for the referee, who then closes us
            start_new_session=True,
        )
        theirs.close()
        self._ready = False

    @property
    def usable(self) -> bool:
        """Whether it runs and has its folder: a worker of this version can take both away."""
        return self._process.poll() is None and self.folder.is_dir()

    def wait_ready(self) -> None:
        """Return once the imports are done; raises EvaluationError if the server cannot start."""
        if self._ready:
            return
        try:
            self._control.ask("ready")
            self._control.answer(START_TIMEOUT_S)
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError) as error:
            log = (self.folder / "forkserver.log").read_text(errors="replace").strip()
            raise EvaluationError(
                "the process that workers are forked from did not start:"
                f" {log.splitlines()[-1] if log else error}."
                " Check the installation with: python -m tritonexp doctor"
            ) from error
        self._ready = True

    def fork(self, folder: Path, cache: Path, connection: socket.socket, arena: int | None) -> int:
        """Fork a worker into a folder with its end of a channel; returns its process id.

        `cache` is where it compiles to: private to an implementation, or one could poison those of
        another.
        """
        self.wait_ready()
        descriptors = (connection.fileno(), *(() if arena is None else (arena,)))
        try:
            self._control.ask("fork", descriptors, folder=str(folder), cache=str(cache))
            return int(self._control.answer(START_TIMEOUT_S)["process_id"])
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError) as error:
            raise EvaluationError(
                f"the process that workers are forked from is gone ({error}); run it again."
            ) from error

    def reap(self, process_id: int, grace_s: float) -> int:
        """The exit code of a worker, negative for a signal; killed if there after the grace.

        Where the server itself is gone, which takes its workers along, that of a kill.
        """
        try:
            self._control.ask("reap", process_id=process_id, grace_s=grace_s)
            return int(self._control.answer(START_TIMEOUT_S)["exit_code"])
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError):
            return -signal.SIGKILL

    def close(self) -> None:
        """End the server and with it every worker."""
        if self._log.closed:
            return
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_standing: dict[tuple[str | None, tuple[str, ...]], ForkServer] = {}


def standing_server(compute_capability: str | None, preload: Sequence[str] = ()) -> ForkServer:
    """A fork server that stays until this process ends, since starting one takes seconds."""
    key = (compute_capability, tuple(preload))
    if key not in _standing or not _standing[key].usable:
        if key in _standing:
            _standing[key].close()
        _standing[key] = ForkServer(compute_capability, preload)
        atexit.register(_standing[key].close)
    return _standing[key]


def _python_path() -> str:
    # the server must find this package however the referee did
    ours = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(
        [ours, *(part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part)]
    )


def serve(control: Channel, compute_capability: str, preload: Sequence[str]) -> None:
    """Fork a worker for each request until the referee's end closes."""
    # the imports are the point of this process; the worker module imports torch and triton
    from tritonexp.evaluation import worker

    if compute_capability:
        from tritonexp.evaluation.warmup import warm_compiler

        warm_compiler(int(compute_capability))
    _import_all(preload)
    children: set[int] = set()
    try:
        while True:
            request, descriptors = control.serve()
            if request["command"] == "ready":
                control.reply()
            elif request["command"] == "fork":
                process_id = os.fork()
                if process_id == 0:
                    control.close()
                    _become_worker(
                        worker.main, Path(request["folder"]), Path(request["cache"]), descriptors
                    )
                for descriptor in descriptors:
                    os.close(descriptor)
                children.add(process_id)
                control.reply(process_id=process_id)
            elif request["command"] == "reap":
                children.remove(request["process_id"])
                control.reply(exit_code=_wait(request["process_id"], request["grace_s"]))
    except ChannelClosedError:
        for child in children:
            sandbox.kill_group(child)


def _import_all(modules: Sequence[str]) -> None:
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


def _wait(process_id: int, grace_s: float) -> int:
    deadline = time.monotonic() + grace_s
    while True:
        found, status = os.waitpid(process_id, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            sandbox.kill_group(process_id)
        time.sleep(0.002)


def _become_worker(
    main: Callable[[Channel, int | None], None],
    folder: Path,
    cache: Path,
    descriptors: list[int],
) -> NoReturn:
    code = 70
    try:
        sandbox.confine(folder, cache)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        arena = descriptors[1] if len(descriptors) > 1 else None
        main(Channel(socket.socket(fileno=descriptors[0])), arena)
        code = 0
    finally:
        # no atexit handlers, no buffers: nothing of a candidate's runs after its last answer
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sandbox.die_with_parent()
    serve(
        Channel(socket.socket(fileno=int(sys.argv[1]))),
        sys.argv[2],
        sys.argv[3:],
    )
