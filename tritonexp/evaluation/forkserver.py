"""A process with torch and triton imported and CUDA untouched, from which workers are forked.

A worker forked from it is ready in a fraction of a second, where a fresh one imports for several.
Workers are forked as crews: those of one implementation share a folder. `ForkServer` is the
referee's side; the server is
`python -m tritonexp.evaluation.forkserver FD CAPABILITY [MODULE ...]`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


@dataclass
class Forks:
    """Workers that were forked together into one folder, before they hold anything."""

    folder: Path
    channels: list[Channel]
    # empty until the server has answered
    process_ids: list[int] = field(default_factory=list)

    def log_of(self, index: int) -> Path:
        """What a worker prints."""
        return self.folder / f"log-{index}.txt"


class ForkServer:
    """Starts workers; closing it ends all of them and removes their folders.

    Workers can be forked ahead. On a GPU each creates its CUDA context as soon as it is forked,
    which takes a tenth of a second and is done one after the other by the driver.
    """

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
        # forked ahead, or about to be: the server answers while the referee does something else
        self._spare: deque[Forks] = deque()
        self._asked: deque[Forks] = deque()

    @property
    def usable(self) -> bool:
        """Whether it runs and has its folder: a worker of this version can take both away."""
        return self._process.poll() is None and self.folder.is_dir()

    def wait_ready(self) -> None:
        """Return once the imports are done; raises EvaluationError if the server cannot start."""
        if self._ready:
            return
        try:
            self._settle()
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

    def fork_ahead(self, *counts: int) -> None:
        """Have crews of these numbers of workers forked, without waiting for it.

        What is there already counts, and what nobody will take is ended.
        """
        missing = list(counts)
        for spare in list(self._spare):
            if len(spare.channels) in missing:
                missing.remove(len(spare.channels))
            else:
                self._dismiss(spare)
        with contextlib.suppress(ChannelClosedError, ChannelTimeoutError):
            # a server that is gone is told of when workers are asked for
            for count in missing:
                self._ask_fork(count)

    def fork(self, count: int) -> Forks:
        """Workers in a folder of their own: private, or one could poison another's compile cache.

        Raises EvaluationError if the server is gone.
        """
        self.wait_ready()
        try:
            found = next((item for item in self._spare if len(item.channels) == count), None)
            if found is None:
                self._ask_fork(count)
                found = self._spare[-1]
            self._settle()
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError) as error:
            raise EvaluationError(
                f"the process that workers are forked from is gone ({error}); run it again."
            ) from error
        self._spare.remove(found)
        return found

    def _ask_fork(self, count: int) -> None:
        pairs = [Channel.pair() for _ in range(count)]
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="crew-"))
        forks = Forks(folder, [ours for ours, _ in pairs])
        try:
            self._control.ask(
                "fork", tuple(theirs.fileno() for _, theirs in pairs), folder=str(folder)
            )
        finally:
            for _, theirs in pairs:
                theirs.close()
        self._asked.append(forks)
        self._spare.append(forks)

    def _settle(self) -> None:
        """Read what the server owes: the process ids of the crews it was asked for."""
        while self._asked:
            answer = self._control.answer(START_TIMEOUT_S)
            self._asked.popleft().process_ids = [int(number) for number in answer["process_ids"]]

    def _dismiss(self, forks: Forks) -> None:
        """End a crew that was never used."""
        with contextlib.suppress(ChannelClosedError, ChannelTimeoutError, ChannelGarbageError):
            self._settle()
        for process_id in forks.process_ids:
            sandbox.kill_group(process_id)
        for process_id, channel in zip(forks.process_ids, forks.channels, strict=False):
            self.reap(process_id, 0.0)
            channel.close()
        shutil.rmtree(forks.folder, ignore_errors=True)
        self._spare.remove(forks)

    def reap(self, process_id: int, grace_s: float) -> int:
        """The exit code of a worker, negative for a signal; killed if there after the grace.

        Where the server itself is gone, which takes its workers along, that of a kill.
        """
        try:
            self._settle()
            self._control.ask("reap", process_id=process_id, grace_s=grace_s)
            return int(self._control.answer(START_TIMEOUT_S)["exit_code"])
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError):
            return -signal.SIGKILL

    def close(self) -> None:
        """End the server and with it every worker."""
        if self._log.closed:
            return
        self._control.close()
        for spare in self._spare:
            for channel in spare.channels:
                channel.close()
        self._spare.clear()
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
                forked = []
                turn = os.memfd_create("turn")
                for index, descriptor in enumerate(descriptors):
                    process_id = os.fork()
                    if process_id == 0:
                        control.close()
                        _become_worker(
                            worker.main,
                            worker.create_context if compute_capability else lambda: None,
                            Path(request["folder"]),
                            descriptors[index:],
                            turn,
                            index,
                        )
                    os.close(descriptor)
                    forked.append(process_id)
                os.close(turn)
                children.update(forked)
                control.reply(process_ids=forked)
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
    main: Callable[[Channel], None],
    prepare: Callable[[], None],
    folder: Path,
    descriptors: list[int],
    turn: int,
    index: int,
) -> NoReturn:
    code = 70
    try:
        # the first is its own end of a channel, the others are those of workers after it
        own, *others = descriptors
        for descriptor in others:
            os.close(descriptor)
        sandbox.confine(folder)
        log = os.open(folder / f"log-{index}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        # one after the other, as the driver would do it too, but so that the first is ready soon;
        # a lock of the process, which nothing keeps that outlives it
        fcntl.lockf(turn, fcntl.LOCK_EX)
        prepare()
        os.close(turn)
        main(Channel(socket.socket(fileno=own)))
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
