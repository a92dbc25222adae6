"""Who works for a referee: fork servers, workers, the memory that they are lent, and who is next.

The references' workers serve one candidate after another; each candidate has a crew of its own.
Does not cover what workers are asked to do, nor the timed ones' lease on the GPU: see referee.py.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import timing
from tritonexp.evaluation.ahead import CompileAhead
from tritonexp.evaluation.forkserver import ForkServer, Places, Settings, standing_server
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew, end_all
from tritonexp.evaluation.roster import Roster, draw_roster, grouped, is_scouted
from tritonexp.evaluation.verification import Subject
from tritonexp.operations import Operation
from tritonexp.records import Gpu, Implementation, Mode, Role, Size, TimingProtocol

# of a container, in microseconds of processor time per period
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
# of a process, before it has computed anything
CONTEXT_BYTES = 640 << 20
# more find little to do: a study has some 50 kinds of cases
MAX_COMPILERS = 12
# each needs a context of the GPU, and runs what was compiled ahead
MAX_SCOUTS = 1


@dataclass
class Begun:
    """A candidate whose kernels are being compiled, and the workers that it will have."""

    candidate: Implementation
    roster: Roster
    crew: Crew
    ahead: CompileAhead
    # what its workers are lent, when its turn has come
    arenas: Sequence[Arena] = ()

    def start(self) -> None:
        """Have its workers import it."""
        self.crew.start(self.arenas)


class Crews:
    """The workers of all implementations of one operation."""

    def __init__(
        self,
        operation: Operation,
        references: Sequence[Implementation],
        sizes: Sequence[Size],
        protocol: TimingProtocol,
        gpu: Gpu | None,
        *,
        cores: int,
        sandbox: bool,
        timeout_s: float,
    ) -> None:
        self._operation = operation
        self._timeout_s = timeout_s
        self._references = tuple(references)
        self._sizes = tuple(sizes)
        self._protocol = protocol
        self._gpu = gpu
        self._mode = Mode.GPU if gpu else Mode.INTERPRETER
        self._device = "cuda" if gpu else "cpu"
        self._sandbox = sandbox
        # three are the referee's, the baseline's and the server's
        spare = max(1, cores - 3)
        # in the interpreter what takes long is running, and nothing is compiled
        self._compilers = min(MAX_COMPILERS, spare) if gpu else 0
        self._scouts = min(MAX_SCOUTS if gpu else MAX_COMPILERS, spare)
        self._arenas: list[Arena] = []
        self._scout_arenas: list[Arena] = []
        # of the references, by name: on a GPU they serve one candidate after another
        self._standing: dict[str, Crew] = {}
        # the candidate that was said to come next
        self._next: Begun | None = None
        # fork servers that may have forked ahead for us
        self._used: set[ForkServer] = set()

    def close(self) -> None:
        """End all workers; the fork servers stand until this process ends."""
        self._end_standing()
        self._dismiss_next()
        for server in self._used:
            if server.usable:
                # those that nobody will take
                server.fork_ahead()
        self._used.clear()
        for arenas in (self._arenas, self._scout_arenas):
            for arena in arenas:
                arena.close()
            arenas.clear()

    def prepare(self) -> None:
        """Have the workers of the next evaluation forked, without waiting for it."""
        candidate_server, reference_server = self.servers()
        if self._gpu is not None:
            # first, since verifying begins with the baseline
            missing = len(self._references) - len(self._standing)
            reference_server.fork_ahead(*[Places()] * missing)
            candidate_server.fork_ahead(self.places)

    @property
    def places(self) -> Places:
        """Of a candidate's crew."""
        return Places(1 + self._scouts, self._compilers)

    def servers(self) -> tuple[ForkServer, ForkServer]:
        """The fork servers of candidates and of references; started anew where one was lost."""
        capability = self._gpu.compute_capability if self._gpu else None
        candidates = standing_server(
            Settings(capability, hidden=hidden_in(self._operation), sandbox=self._sandbox)
        )
        self._used.add(candidates)
        if capability is None:
            # beside the candidate only the baseline runs
            return candidates, candidates
        # a server of their own: what it has loaded of the experts is in no candidate's memory
        preload = modules_of(self._references)
        references = standing_server(Settings(capability, preload=preload, sandbox=self._sandbox))
        self._used.add(references)
        return candidates, references

    def interpreters(self) -> tuple[ForkServer, ForkServer]:
        """The fork servers of candidates and of references that run in Triton's interpreter."""
        if self._gpu is None:
            return self.servers()
        hidden, preload = hidden_in(self._operation), modules_of(self._references)
        return (
            standing_server(Settings(None, hidden=hidden, sandbox=self._sandbox)),
            standing_server(Settings(None, preload=preload, sandbox=self._sandbox)),
        )

    def fork_next(self, needed_bytes: int) -> None:
        """Have the workers of the next candidate forked beside the verification of this one.

        Creating their contexts would disturb the timing, and takes the next one's time if it comes
        after that. Where that would leave less of the GPU's memory than this one needs, it does.
        """
        if self._gpu is not None:
            free_bytes, _ = torch.cuda.mem_get_info()
            if free_bytes - self.places.workers * CONTEXT_BYTES > needed_bytes:
                self.servers()[0].fork_ahead(self.places)

    def begin_next(self, candidate: Implementation | None) -> None:
        """Have the next candidate compiled, without the GPU, which is another's now."""
        server = self.servers()[0]
        self._dismiss_next()
        # contexts that are not there yet are not created now
        is_there = server.wait_ahead(self.places)
        if candidate is not None and is_there and self._compilers:
            roster = draw_roster(self._operation.spec, self._sizes, self._mode)
            self._next = self._begin(server, candidate, roster)
            # nobody looks at it until this one is timed
            self._next.ahead.deal()

    def _dismiss_next(self) -> None:
        if self._next is not None:
            self._next.crew.close()
            self._next = None

    def _take_next(self, server: ForkServer, candidate: Implementation) -> Begun | None:
        """What was begun of a candidate, if it was; what was begun of another is ended."""
        begun, self._next = self._next, None
        if begun is not None and (begun.candidate != candidate or begun.crew.server is not server):
            begun.crew.close()
            return None
        return begun

    def _begin(self, server: ForkServer, candidate: Implementation, roster: Roster) -> Begun:
        """Have compilers import a candidate; its workers wait until they are given arenas."""
        crew = Crew(
            server,
            candidate,
            held=self.places.workers,
            compilers=self.places.compilers,
            gpu=self._gpu,
        )
        spec = self._operation.spec
        ahead = CompileAhead(
            crew.compilers, spec, roster.groups, grouped(roster.left), self._timeout_s
        )
        return Begun(candidate, roster, crew, ahead)

    @contextlib.contextmanager
    def at_work(self, candidate: Implementation) -> Iterator[tuple[Begun, list[Subject]]]:
        """Workers of all that take part, the candidate's first; it is yet to be started.

        The references' are importing their implementations.
        """
        # nothing is timed in the interpreter, so only the baseline has anything to say there
        references = [
            item
            for item in self._references
            if self._mode is Mode.GPU or item.role is Role.BASELINE
        ]
        candidate_server, reference_server = self.servers()
        begun = self._take_next(candidate_server, candidate)
        subjects = [] if begun is None else [Subject(begun.crew)]
        try:
            roster = (
                draw_roster(self._operation.spec, self._sizes, self._mode)
                if begun is None
                else begun.roster
            )
            arenas, scout_arenas = self._room_for(roster, 1 + len(references))
            # the candidate is forked last, since verifying begins with the baseline
            for implementation, arena in zip(references, arenas[1:], strict=True):
                crew = self._standing.pop(implementation.name, None)
                if crew is not None and crew.server is not reference_server:
                    # that server is gone, and its workers with it
                    crew.close()
                    crew = None
                subjects.append(Subject(crew or Crew(reference_server, implementation, [arena])))
            if begun is None:
                begun = self._begin(candidate_server, candidate, roster)
                subjects.insert(0, Subject(begun.crew))
            begun.arenas = [arenas[0], *scout_arenas]
            begun.ahead.resume()
            yield begun, subjects
        finally:
            ended = []
            for subject in subjects:
                is_kept = self._gpu is not None and subject.role is not Role.CANDIDATE
                if (
                    is_kept
                    and subject.failure is None
                    and subject.worker.idle
                    and not subject.crew.worn
                ):
                    self._standing[subject.name] = subject.crew
                else:
                    ended.append(subject.crew)
            end_all([one for crew in ended for one in (*crew.workers, *crew.compilers)])
            for crew in ended:
                crew.close()

    def _room_for(self, roster: Roster, count: int) -> tuple[list[Arena], list[Arena]]:
        """Arenas for as many implementations, and for the candidate's scouts."""
        spec, dtype = self._operation.spec, self._operation.spec.timed_dtype
        layouts = [lay_out(spec, case.size, case.dtype, 1) for case in roster.cases]
        timed = []
        if self._gpu is not None:
            for size in self._sizes:
                sets = timing.most_sets(spec, size, dtype, self._protocol, self._gpu)
                timed.append(lay_out(spec, size, dtype, sets))
        largest = max(layout.size_bytes for layout in (*layouts, *timed))
        largest_scouted = max(
            layout.size_bytes
            for case, layout in zip(roster.cases, layouts, strict=True)
            if is_scouted(spec, case)
        )
        if self._arenas and self._arenas[0].size_bytes < largest:
            # theirs are about to be replaced
            self._end_standing()
        return (
            self._lend(self._arenas, count, largest),
            self._lend(self._scout_arenas, self._scouts, largest_scouted),
        )

    def _end_standing(self) -> None:
        for crew in self._standing.values():
            crew.close()
        self._standing.clear()

    def _lend(self, arenas: list[Arena], count: int, size_bytes: int) -> list[Arena]:
        """Arenas of at least a size, wiped; kept between evaluations, since workers come and go."""
        if arenas and arenas[0].size_bytes < size_bytes:
            for arena in arenas:
                arena.close()
            arenas.clear()
            gc.collect()
        while len(arenas) < count:
            try:
                arenas.append(Arena(size_bytes, self._device))
            except torch.OutOfMemoryError as error:
                free_bytes, _ = torch.cuda.mem_get_info()
                raise EvaluationError(
                    f"the arguments and results of {count} workers need {size_bytes:,} bytes of the"
                    f" GPU's memory each, of which {len(arenas)} have theirs, and {free_bytes:,}"
                    " bytes are free. End what else uses the GPU; or choose smaller sizes, or fewer"
                    " implementations with contenders='[]' or expert=none."
                ) from error
        for arena in arenas:
            arena.wipe()
        if self._gpu is not None:
            # before anybody maps one
            torch.cuda.synchronize()
        return arenas[:count]


def available_cores() -> int:
    """How many of the host's cores this process may keep busy."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        # no limit of a control group: "max", or none that is told
        return cores


def hidden_in(operation: Operation) -> tuple[str, ...]:
    """What candidates must not read: the experts' modules, and the files of others."""
    return (*modules_of(operation.experts), *operation.private_paths)


def modules_of(references: Sequence[Implementation]) -> tuple[str, ...]:
    """The modules that experts among references call into."""
    return tuple(
        sorted(
            {
                item.provenance.location.partition(":")[0]
                for item in references
                if item.role is Role.EXPERT
                and item.provenance.origin == "package"
                and item.provenance.location
            }
        )
    )
