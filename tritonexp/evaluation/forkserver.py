"""A process with torch and triton imported and CUDA untouched, from which workers are forked.

A worker forked from it is ready in a fraction of a second, where a fresh one imports for several.
Workers are forked as crews: those of one implementation share a folder. `ForkServer` is the
referee's side; server.py is the process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import confinement, sandbox
from tritonexp.evaluation.channel import (
    Channel,
    ChannelClosedError,
    ChannelGarbageError,
    ChannelTimeoutError,
)

START_TIMEOUT_S = 120.0
# how a server begins to tell why it ended workers who were not to blame
OTHERS_MEMORY = "something else had used up the machine's memory"


@dataclass(frozen=True)
class Settings:
    """What a fork server's workers are for, and what they must not see."""

    # of the GPU, as in 9.0; None for the interpreter
    compute_capability: str | None
    # modules that its workers will import, such as an expert's, which can take seconds
    preload: tuple[str, ...] = ()
    # modules and paths that its workers cannot read; a server that preloads an expert hides none
    hidden: tuple[str, ...] = ()
    sandbox: bool = True


@dataclass(frozen=True)
class Places:
    """How many processes a crew has, and of which kind."""

    workers: int = 1
    # without the GPU, for those to compile who need not run what they compile
    compilers: int = 0
    # whether the workers can profile
    profile: bool = False

    @property
    def count(self) -> int:
        """Of all kinds."""
        return self.workers + self.compilers


@dataclass
class Forks:
    """Processes that were forked together into one folder, before they hold anything.

    The workers come first.
    """

    folder: Path
    places: Places
    channels: list[Channel]
    # empty until the server has answered
    process_ids: list[int] = field(default_factory=list)

    def remove(self) -> None:
        """Remove the folder and the logs, when the workers are gone."""
        sandbox.remove(self.folder)
        for index in range(len(self.channels)):
            log_in(self.folder, index).unlink(missing_ok=True)


def log_in(folder: Path, index: int) -> Path:
    """Where a worker of a crew prints to: beside its folder, where it cannot put another file."""
    return folder.with_name(f"log-{folder.name}-{index}.txt")


class ForkServer:
    """Starts workers; closing it ends all of them and removes their folders.

    Crews can be forked ahead. On a GPU each creates its CUDA context as soon as it is forked,
    which takes a tenth of a second and is done one after the other by the driver.
    """

    def __init__(self, settings: Settings) -> None:
        """Start it; raises EvaluationError where the sandbox is wanted and cannot be had."""
        if settings.sandbox:
            confinement.check()
        self.folder = Path(tempfile.mkdtemp(prefix="tritonexp-"))
        self._control, theirs = Channel.pair()
        self._log = (self.folder / "forkserver.log").open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own module, in our own interpreter
            [
                sys.executable,
                # the folder that it is started in is the user's, and no place to import from
                "-P",
                "-m",
                "tritonexp.evaluation.server",
                str(theirs.fileno()),
                json.dumps(asdict(settings)),
                str(self.folder),
            ],
            env=sandbox.environment(self.folder, interpret=settings.compute_capability is None),
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
        return not self._control.closed and self._process.poll() is None and self.folder.is_dir()

    def wait_ready(self) -> None:
        """Return once the imports are done; raises EvaluationError if the server cannot start."""
        if self._ready:
            return
        try:
            self._settle()
            self._ask("ready")
            self._answer()
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError) as error:
            log = (self.folder / "forkserver.log").read_text(errors="replace").strip()
            raise EvaluationError(
                "the process that workers are forked from did not start:"
                f" {log.splitlines()[-1] if log else error}."
                " Check the installation with: python -m tritonexp doctor"
            ) from error
        self._ready = True

    def fork_ahead(self, *crews: Places) -> None:
        """Have crews forked, without waiting for it.

        What is there already counts, and what nobody will take is ended.
        """
        missing = list(crews)
        for spare in list(self._spare):
            if spare.places in missing:
                missing.remove(spare.places)
            else:
                self._dismiss(spare)
        with contextlib.suppress(ChannelClosedError, ChannelTimeoutError):
            # a server that is gone is told of when workers are asked for
            for places in missing:
                self._ask_fork(places)

    def wait_ahead(self, places: Places) -> bool:
        """Return once no worker that was forked ahead is still creating its context.

        That would be seen in the times of who is timed meanwhile. Tells whether a crew is there.
        """
        for forks in list(self._spare):
            channels = forks.channels[: forks.places.workers]
            try:
                for channel in channels:
                    channel.ask("ready")
                for channel in channels:
                    channel.answer(START_TIMEOUT_S)
            except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError):
                # who asks for workers then is told what is wrong
                self._dismiss(forks)
        return any(forks.places == places for forks in self._spare)

    def fork(self, places: Places) -> Forks:
        """A crew in a folder of its own: private, or one could poison another's compile cache.

        Raises EvaluationError if the server is gone.
        """
        self.wait_ready()
        try:
            found = next((item for item in self._spare if item.places == places), None)
            if found is None:
                self._ask_fork(places)
                found = self._spare[-1]
            self._settle()
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError) as error:
            raise EvaluationError(
                f"the process that workers are forked from is gone ({error}); run it again."
            ) from error
        self._spare.remove(found)
        return found

    def _ask_fork(self, places: Places) -> None:
        pairs = [Channel.pair() for _ in range(places.count)]
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix="crew-"))
        forks = Forks(folder, places, [ours for ours, _ in pairs])
        try:
            self._ask(
                "fork",
                tuple(theirs.fileno() for _, theirs in pairs),
                folder=str(folder),
                places=asdict(places),
            )
        finally:
            for _, theirs in pairs:
                theirs.close()
        self._asked.append(forks)
        self._spare.append(forks)

    def _ask(self, command: str, descriptors: tuple[int, ...] = (), **fields: Any) -> None:
        with self._ended_where_late():
            self._control.ask(command, descriptors, **fields)

    def _answer(self) -> dict[str, Any]:
        with self._ended_where_late():
            return self._control.answer(START_TIMEOUT_S)

    @contextlib.contextmanager
    def _ended_where_late(self) -> Iterator[None]:
        """End a server that is too slow: what it says later would answer another request."""
        try:
            yield
        except (ChannelTimeoutError, ChannelGarbageError):
            self._control.close()
            self._process.kill()
            raise

    def _settle(self) -> None:
        """Read what the server owes: the process ids of the crews it was asked for."""
        while self._asked:
            answer = self._answer()
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
        forks.remove()
        self._spare.remove(forks)

    def reap(self, process_id: int, grace_s: float) -> tuple[int, str]:
        """The exit code of a worker, negative for a signal; killed if there after the grace.

        With it why the server ended it, if it did. Where the server itself is gone, which takes its
        workers along, the code is that of a kill.
        """
        try:
            self._settle()
            self._ask("reap", process_id=process_id, grace_s=grace_s)
            answer = self._answer()
            return int(answer["exit_code"]), str(answer["why"])
        except (ChannelClosedError, ChannelTimeoutError, ChannelGarbageError):
            return -signal.SIGKILL, ""

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
        sandbox.remove(self.folder)


_standing: dict[Settings, ForkServer] = {}


def standing_server(settings: Settings) -> ForkServer:
    """A fork server that stays until this process ends, since starting one takes seconds."""
    if settings not in _standing or not _standing[settings].usable:
        if settings in _standing:
            _standing[settings].close()
        _standing[settings] = ForkServer(settings)
        atexit.register(_standing[settings].close)
    return _standing[settings]
