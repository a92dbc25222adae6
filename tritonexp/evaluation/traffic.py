"""Counts what a call of each implementation asks of memory, in workers that nobody waits for.

Each has a worker of its own in Triton's interpreter, confined like any other, that makes two calls
at the largest of the operation's interpreter sizes. What cannot run there has no figures but a
reason. The figures are the worker's own account; no verdict follows from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tritonexp.errors import EvaluationError
from tritonexp.evaluation import answers, inputs
from tritonexp.evaluation.forkserver import ForkServer, Places
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew, WorkerFailedError, end_all
from tritonexp.operations import ITEMSIZE_BYTES, Spec, TensorArgument
from tritonexp.records import ArgumentReads, Case, Implementation, Role, Status, Traffic

# any will do: how much is read does not depend on what it is
SEED = 0
REQUESTS = ("attach", "load", "count")
TORCH_COMPILE = "compile"
NOT_FOR_CPUS = "torch.compile writes its kernels for the device, so the interpreter sees none"


@dataclass
class Count:
    """One that is under way."""

    crew: Crew
    arena: Arena

    def close(self) -> None:
        """End it, done or not."""
        self.crew.close()
        self.arena.close()


class TrafficCounter:
    """Starts counts and collects them; what it found of a reference it keeps."""

    def __init__(self, spec: Spec, servers: Callable[[], tuple[ForkServer, ForkServer]]) -> None:
        """`servers` gives the interpreter's fork servers, of candidates and of references."""
        self._spec = spec
        self._servers = servers
        self._dtype = spec.timed_dtype
        self._size = max(
            map(spec.size, spec.interpreter),
            key=lambda size: spec.call_bytes(size, spec.timed_dtype),
        )
        self._under_way: dict[str, Count] = {}
        self._found: dict[str, Traffic] = {}
        # of the references: the same for every candidate
        self._kept: dict[str, Traffic] = {}

    def prepare(self, references: Sequence[Implementation]) -> None:
        """Have workers forked ahead for a candidate and these references."""
        candidates, of_references = self._servers()
        candidates.fork_ahead(Places())
        of_references.fork_ahead(*(Places() for item in references if self._is_wanted(item)))

    def start(self, implementations: Sequence[Implementation]) -> None:
        """Start a count of each, without waiting for it."""
        self.close()
        candidates, references = self._servers()
        for implementation in implementations:
            name = implementation.name
            if implementation.role is Role.CANDIDATE:
                self._start(candidates, implementation)
            elif self._is_wanted(implementation):
                self._start(references, implementation)
            elif name not in self._kept:
                self._kept[name] = self._without_figures(NOT_FOR_CPUS)

    def collect(self, wait_s: float) -> dict[str, Traffic]:
        """What was found of each that was started, by name; those that take longer are ended."""
        deadline = time.perf_counter() + wait_s
        for name, count in self._under_way.items():
            is_kept = count.crew.implementation.role is not Role.CANDIDATE
            try:
                found = self._collect(count, deadline, wait_s)
            except WorkerFailedError as failure:
                found = self._without_figures(failure.reason)
                # who was only slow is counted again beside the next candidate
                is_kept = is_kept and failure.status is not Status.TIMEOUT
            (self._kept if is_kept else self._found)[name] = found
        self._end()
        return self._kept | self._found

    def close(self) -> None:
        """End what is under way, and forget what was found of the last candidate."""
        self._end()
        self._found.clear()

    def _is_wanted(self, reference: Implementation) -> bool:
        """Whether a reference can be counted, and was not yet."""
        return reference.name != TORCH_COMPILE and reference.name not in self._kept

    def _end(self) -> None:
        end_all([worker for count in self._under_way.values() for worker in count.crew.workers])
        for count in self._under_way.values():
            count.close()
        self._under_way.clear()

    def _start(self, server: ForkServer, implementation: Implementation) -> None:
        layout = lay_out(self._spec, self._size, self._dtype, 1)
        case = Case(
            size=self._size,
            dtype=self._dtype,
            distribution=inputs.ordinary(self._spec),
            seed=SEED,
        )
        arena = Arena(layout.size_bytes, "cpu")
        layout.write(arena, 0, inputs.make_arguments(self._spec, case, "cpu"))
        try:
            crew = Crew(server, implementation, [arena])
        except EvaluationError as error:
            arena.close()
            self._found[implementation.name] = self._without_figures(str(error))
            return
        # asked at once, so that nobody need look when the file is imported
        crew.workers[0].ask("count", arguments=layout.sets[0])
        self._under_way[implementation.name] = Count(crew, arena)

    def _collect(self, count: Count, deadline: float, wait_s: float) -> Traffic:
        for _ in REQUESTS:
            left_s = max(0.0, deadline - time.perf_counter())
            answer = count.crew.workers[0].answer(left_s, wait_s)
        figures = answers.counts_of(answer, answers.TRAFFIC_FIGURES)
        read = answers.counts_in(answer, "argument_bytes", len(self._spec.arguments))
        return self._traffic(
            dict(zip(answers.TRAFFIC_FIGURES, figures, strict=True)),
            tuple(
                ArgumentReads(
                    name=argument.name,
                    read_bytes=read_bytes,
                    size_bytes=self._size_bytes(argument.shape),
                )
                for argument, read_bytes in zip(self._spec.arguments, read, strict=True)
                if isinstance(argument, TensorArgument)
            ),
            "",
        )

    def _without_figures(self, reason: str) -> Traffic:
        return self._traffic({}, (), reason)

    def _size_bytes(self, axes: tuple[str, ...]) -> int:
        return ITEMSIZE_BYTES[self._dtype] * math.prod(self._spec.shape_of(axes, self._size))

    def _traffic(
        self, figures: dict[str, int], arguments: tuple[ArgumentReads, ...], reason: str
    ) -> Traffic:
        spec, size, dtype = self._spec, self._size, self._dtype
        written_bytes = sum(map(self._size_bytes, spec.outputs))
        return Traffic(
            size=size,
            dtype=dtype,
            launches=figures.get("launches"),
            read_bytes=figures.get("read_bytes"),
            arguments=arguments,
            written_bytes=figures.get("written_bytes"),
            torch_read_bytes=figures.get("torch_read_bytes"),
            torch_written_bytes=figures.get("torch_written_bytes"),
            least_read_bytes=max(0, spec.floor_bytes(size, dtype) - written_bytes),
            least_written_bytes=written_bytes,
            flops=None if spec.flops is None else float(spec.flops(size)),
            reason=reason,
        )
