"""The parent that judges: it makes the inputs, knows what is expected, keeps the clock, concludes.

Each implementation runs in a worker of its own (see worker.py), which judges nothing.

Does not cover native code in a worker: events, graphs and the candidate share a process there. The
referee's clock, verified results of timed calls and the hardware's floor bound what a lie can gain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import torch

from tritonexp import statistics
from tritonexp.errors import ConfigError, DoesNotFitError, LeaseError
from tritonexp.evaluation import (
    calibration,
    confinement,
    environment,
    floors,
    inputs,
    lease,
    looking,
    occupancy,
    quiet,
    sandbox,
    source_checks,
    timed_kernels,
    timing,
)
from tritonexp.evaluation.ceilings import Yardstick, ceilings_of
from tritonexp.evaluation.clocks import ClockReader
from tritonexp.evaluation.crews import CONTEXT_BYTES, Begun, Crews, available_cores, hidden_in
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import (
    WorkerFailedError,
    end_all,
)
from tritonexp.evaluation.profiling import Profiler
from tritonexp.evaluation.roster import MAX_SCOUTED_BYTES
from tritonexp.evaluation.traffic import TrafficCounter
from tritonexp.evaluation.verification import Subject, Verifier, results_judge
from tritonexp.operations import Operation, with_expert
from tritonexp.records import (
    Ceilings,
    Clock,
    ClockLog,
    Comparison,
    CompiledKernel,
    Evaluation,
    Gpu,
    Implementation,
    Interval,
    KernelShare,
    MachineFacts,
    Mode,
    Profile,
    Provenance,
    Role,
    Size,
    Status,
    Timing,
    TimingProtocol,
    Traffic,
    Trial,
)

# the offline compiler's target where there is no GPU
OFFLINE_TARGET = "sm_90"
# results, temporaries of a naive baseline and a graph's pool, in multiples of a call's own tensors
WORKING_FACTOR = 4
FREE_SHARE = 0.9
# beyond the verification, beside which it is counted what calls ask of memory
TRAFFIC_WAIT_S = 1.0


# how each implementation was timed, by its name: at each size
Work = dict[str, list[tuple[Size, Lane]]]


class Referee:
    """Judges candidates for one operation; a context manager that ends every worker on its way out.

    Raises ConfigError for an unknown expert or contender, and EvaluationError where generated code
    cannot be confined and `sandbox` asks for it.
    """

    def __init__(
        self,
        operation: Operation,
        *,
        sizes: Sequence[Size],
        protocol: TimingProtocol,
        expert: str = "auto",
        contenders: Sequence[str] = ("torch", "house"),
        seed: int = 0,
        timeout_s: float = 60.0,
        gpu_wait_s: float = lease.WAIT_S,
        verifies_alone: bool = True,
        cores: int | None = None,
        sandbox: bool = True,
        profile: str | None = None,
        counts_traffic: bool = True,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make ready; the workers of a first evaluation are forked meanwhile.

        With `verifies_alone=False` several referees verify at once, and only time alone: what one
        candidate takes of the GPU's memory is then lacking to another. `cores` is how many of the
        host's are used to compile side by side; None for all.
        """
        # a no-op where it is there already
        self.operation = with_expert(operation, expert)
        self.sizes = tuple(sizes)
        self.protocol = protocol
        self.seed = seed
        self.timeout_s = timeout_s
        self.gpu_wait_s = gpu_wait_s
        self.verifies_alone = verifies_alone
        self.sandbox = sandbox
        self.gpu = environment.find_gpu()
        self.mode = Mode.GPU if self.gpu else Mode.INTERPRETER
        self.device = "cuda" if self.gpu else "cpu"
        self._progress = progress
        self._references = _references(self.operation, expert, contenders)
        self._crews = Crews(
            self.operation,
            self._references,
            self.sizes,
            protocol,
            self.gpu,
            cores=cores or available_cores(),
            sandbox=sandbox,
            timeout_s=timeout_s,
        )
        self._clocks = ClockReader(self.gpu.uuid) if self.gpu else None
        self._profiler = Profiler(
            profile,
            self.operation,
            self.sizes,
            has_gpu=self.gpu is not None,
            hidden=hidden_in(self.operation) if sandbox else None,
            progress=progress,
        )
        # for who wants to know why a kernel is fast; no verdict needs it
        self._traffic = (
            TrafficCounter(self.operation.spec, self._crews.interpreters)
            if counts_traffic
            else None
        )
        if verifies_alone:
            self.prepare()
        else:
            # contexts are created while nobody else times
            self._crews.servers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the references' workers; the fork servers stand until this process ends."""
        self._crews.close()
        if self._traffic is not None:
            self._traffic.close()
        if self._clocks is not None:
            self._clocks.close()

    def prepare(self) -> None:
        """Have the workers of the next evaluation forked while something else is done.

        Does not wait: it is for when a model is asked, and an evaluation takes what is there. No
        context is created where another process has the GPU to itself at that moment, since that
        would be seen in its times; it may still begin before a context is there.
        """
        try:
            with self._leased(shared=True, wait_s=0.0):
                self._crews.prepare()
        except LeaseError:
            # whose turn it is then forks them
            self._crews.servers()
        if self.gpu is not None and self._traffic is not None:
            self._traffic.prepare(self._references)

    def wait_ready(self) -> None:
        """Return once workers can be forked; an evaluation waits for it by itself."""
        counting = () if self._traffic is None else self._crews.interpreters()
        for server in (*self._crews.servers(), *counting):
            server.wait_ready()

    def _leased(
        self, *, shared: bool = False, wait_s: float | None = None
    ) -> contextlib.AbstractContextManager[None]:
        """No other process measures on the GPU meanwhile; raises LeaseError where that cannot be.

        Nor do they verify, unless it is shared: that, too, would be seen in our times.
        """
        if self.gpu is None:
            return contextlib.nullcontext()
        return lease.leased(
            self.gpu.uuid,
            shared=shared,
            wait_s=self.gpu_wait_s if wait_s is None else wait_s,
            progress=self._progress,
        )

    def facts(self) -> MachineFacts:
        """What a prompt may be told of this machine; the bandwidth is measured."""
        with self._leased():
            ceilings = self._ceilings()
        return environment.facts_of(self.gpu, ceilings.copy_gb_s if ceilings else None)

    def check_fits(self) -> None:
        """Raise DoesNotFitError for a size that the GPU's free memory cannot hold."""
        if self.gpu is None:
            return
        free, _ = torch.cuda.mem_get_info()
        for size in self.sizes:
            needed = self._needed_bytes(size, self.gpu)
            if needed > FREE_SHARE * free:
                raise DoesNotFitError(
                    f"size {size.label} needs about {needed:,} bytes for"
                    f" {1 + len(self._references)} implementations, but {self.gpu.name} has"
                    f" {free:,} bytes free; choose smaller sizes, or fewer implementations with"
                    " contenders='[]' or expert=none."
                )

    def _needed_bytes(self, size: Size, gpu: Gpu) -> int:
        """About what an evaluation at a size takes of the GPU's memory, by all processes."""
        spec, dtype = self.operation.spec, self.operation.spec.timed_dtype
        workers = 1 + len(self._references)
        scouts = self._crews.places.workers - 1
        sets = timing.most_sets(spec, size, dtype, self.protocol, gpu)
        call_bytes = spec.call_bytes(size, dtype)
        # float64 reference and its temporaries in the referee, the rest once for each worker
        needed = workers * (2 * sets + WORKING_FACTOR) * call_bytes + 8 * call_bytes
        # values, those that replace them, and what two workers made of each
        needed += 4 * min(sets, timing.VERIFIED_AT_ONCE) * call_bytes
        scouted_bytes = min(call_bytes, MAX_SCOUTED_BYTES)
        needed += (workers + scouts) * CONTEXT_BYTES + 2 * quiet.COPY_BYTES
        return needed + scouts * (1 + WORKING_FACTOR) * scouted_bytes

    def evaluate(
        self,
        candidate: Implementation,
        upcoming: Callable[[], Implementation | None] | None = None,
    ) -> Evaluation:
        """Verify a candidate and, where it is right and there is a GPU, time it.

        `upcoming` tells which one is next, where that is known when this one is about to be timed:
        the next is then compiled, on the host alone, while this one is timed. None where nothing
        follows.
        """
        begin = time.perf_counter()
        refused = self._refusal(candidate)
        if refused is not None:
            status, reason = refused
            return self._evaluation(_failed_trial(candidate, status, reason, ""), begin)
        with contextlib.ExitStack() as hold:
            hold.enter_context(self._leased(shared=not self.verifies_alone))
            return self._judge(candidate, hold, upcoming)

    def _refusal(self, candidate: Implementation) -> tuple[Status, str] | None:
        """What is wrong with a file that need not be run to be known."""
        names = [item.name for item in self.operation.spec.arguments]
        return source_checks.check_source(candidate.source, candidate.entry_point, names)

    def _judge(
        self,
        candidate: Implementation,
        hold: contextlib.ExitStack,
        upcoming: Callable[[], Implementation | None] | None,
    ) -> Evaluation:
        begin = time.perf_counter()
        self._progress("starting the workers")
        with self._crews.at_work(candidate) as (begun, subjects):
            judged = subjects[0]
            verifier = Verifier(
                self.operation,
                subjects,
                begun.ahead,
                self.device,
                self.timeout_s,
                self._progress,
            )
            if self.mode is Mode.GPU and self._traffic is not None:
                # beside the others, on a core that they leave
                self._traffic.start([subject.worker.implementation for subject in subjects])
            # a next one's workers, who create their contexts, would disturb what it tunes
            forks_next = upcoming is not None and not judged.tunes
            verifier.run(begun.roster, functools.partial(self._start, begun, forks_next=forks_next))
            del verifier
            traffic = self._count_traffic(subjects)
            timings: dict[str, list[Timing]] = {}
            kernels: tuple[KernelShare, ...] = tuple(
                KernelShare(name=name, launches=count, share=None, own=True)
                for name, count in sorted(judged.launched.items())
            )
            launched: dict[str, tuple[CompiledKernel, ...]] = {}
            work: Work = {}
            clock_logs: list[ClockLog] = []
            # they were killed by the verifier; what is left of them would disturb the timing
            end_all([*judged.scouts, *judged.crew.compilers])
            if self.mode is Mode.GPU and judged.failure is None:
                if not self.verifies_alone:
                    # given back first: two that waited for each other would wait for ever; and
                    # whose turn it is not does nothing
                    with judged.worker.paused():
                        hold.close()
                        hold.enter_context(self._leased())
                if upcoming is not None:
                    self._begin_next(upcoming)
                timings, work, clock_logs = self._time(subjects)
                launched = {name: self._launches(found) for name, found in work.items()}
            # last, since a profiler may slow what follows
            if judged.name in work and judged.failure is None:
                kernels = looking.look_at_kernels(
                    judged,
                    work[judged.name],
                    self.operation.spec,
                    lambda: self._crews.servers()[0],
                    self.timeout_s,
                    self._progress,
                )
            trials = [
                _trial(
                    subject,
                    kernels if subject is judged else (),
                    launched.get(subject.name, ()),
                    timings.get(subject.name, []),
                    traffic.get(subject.name),
                )
                for subject in subjects
                # a candidate that was soon found wrong leaves some that nothing was asked of
                if subject is judged or subject.cases or subject.failure is not None
            ]
        if self.mode is Mode.INTERPRETER and trials[0].status is Status.CORRECT:
            trials[0] = self._compile_offline(trials[0])
        trials, profile = self._profiler.add_to(trials)
        return self._evaluation(
            trials[0], begin, tuple(trials[1:]), self._compare(trials), tuple(clock_logs), profile
        )

    def _evaluation(
        self,
        candidate: Trial,
        begin: float,
        references: tuple[Trial, ...] = (),
        comparisons: tuple[Comparison, ...] = (),
        clock_logs: tuple[ClockLog, ...] = (),
        profile: Profile | None = None,
    ) -> Evaluation:
        timed = any(trial.timings for trial in (candidate, *references))
        return Evaluation(
            mode=self.mode,
            operation=self.operation.name,
            sizes=self.sizes,
            dtype=self.operation.spec.timed_dtype,
            protocol=self.protocol if timed else None,
            environment=environment.describe(
                self.gpu,
                confinement.description() if self.sandbox else sandbox.DESCRIPTION_OF_OFF,
            ),
            ceilings=self._ceilings() if timed else None,
            candidate=candidate,
            references=references,
            comparisons=comparisons,
            clock_logs=clock_logs,
            calibration=(
                calibration.known(self.gpu, self.protocol) if timed and self.gpu else None
            ),
            profile=profile,
            duration_s=time.perf_counter() - begin,
        )

    def _ceilings(self) -> Ceilings | None:
        if self.gpu is None:
            return None
        return ceilings_of(self.gpu, self._bounding_dtypes())

    def _bounding_dtypes(self) -> tuple[str, ...]:
        """Those to measure a matmul rate for, where arithmetic may bound the operation."""
        spec = self.operation.spec
        return (spec.timed_dtype,) if spec.flops is not None else ()

    def _start(self, begun: Begun, *, forks_next: bool) -> None:
        """Have the candidate's workers import it, and those of the next one forked."""
        begun.start()
        if forks_next and self.gpu is not None:
            self._crews.fork_next(max(self._needed_bytes(size, self.gpu) for size in self.sizes))

    def _begin_next(self, upcoming: Callable[[], Implementation | None]) -> None:
        """Have the next candidate compiled while this one is timed, if it is worth it.

        The host's cores are then no quiet place, which only the GPU's own clock does not mind.
        """
        candidate = None
        try:
            if self.protocol.clock is Clock.GRAPH:
                candidate = upcoming()
            if candidate is not None and self._refusal(candidate) is not None:
                candidate = None
            self._crews.begin_next(candidate)
        except Exception:  # noqa: BLE001 - it saves time, and its turn tells what is wrong
            self._crews.begin_next(None)

    def _count_traffic(self, subjects: Sequence[Subject]) -> dict[str, Traffic]:
        """What calls ask of memory, by name; of a candidate that failed nobody wants to know.

        On a GPU nothing of it is left running, since it would disturb the timing.
        """
        if self._traffic is None:
            return {}
        if subjects[0].failure is not None:
            self._traffic.close()
            return {}
        if self.mode is Mode.INTERPRETER:
            self._progress("counting what a call asks of memory")
            self._traffic.start([subject.worker.implementation for subject in subjects])
            return self._traffic.collect(self.timeout_s)
        return self._traffic.collect(TRAFFIC_WAIT_S)

    def _time(
        self, subjects: Sequence[Subject]
    ) -> tuple[dict[str, list[Timing]], Work, list[ClockLog]]:
        """Time every subject that passed, at every size, in rounds taken together."""
        if self.gpu is None:
            raise ConfigError("times need a GPU, and this machine has none that torch can use.")
        protocol, yardstick = self.protocol, Yardstick(self.gpu, self._bounding_dtypes())
        while True:
            try:
                return self._time_by(protocol, subjects, yardstick)
            except timing.CannotCaptureError as error:
                for subject in subjects:
                    if subject.name in error.lost:
                        subject.fail(error.lost[subject.name])
                self._progress(f"timing by events, since a graph cannot capture {error}")
                protocol = dataclasses.replace(protocol, clock=Clock.EVENTS)

    def _time_by(
        self, protocol: TimingProtocol, subjects: Sequence[Subject], yardstick: Yardstick
    ) -> tuple[dict[str, list[Timing]], Work, list[ClockLog]]:
        spec, dtype = self.operation.spec, self.operation.spec.timed_dtype
        gpu, clocks = self.gpu, self._clocks
        if gpu is None or clocks is None:
            raise ConfigError("times need a GPU, and this machine has none that torch can use.")
        timings: dict[str, list[Timing]] = {subject.name: [] for subject in subjects}
        work: Work = {subject.name: [] for subject in subjects}
        clock_logs: list[ClockLog] = []
        for size in self.sizes:
            running = [subject for subject in subjects if subject.failure is None]
            self._progress(f"timing {len(running)} implementations at {size.label}")
            lanes, log = timing.time_in_turns(
                spec,
                size,
                dtype,
                [subject.worker for subject in running],
                protocol,
                gpu,
                inputs.drawer(spec, size, dtype, self.device),
                results_judge(self.operation, dtype, size),
                clocks,
                self.timeout_s,
                self._progress,
            )
            clock_logs.append(log)
            for subject, lane in zip(running, lanes, strict=True):
                work[subject.name].append((size, lane))
                if lane.failure is not None:
                    subject.fail(lane.failure)
                    continue
                measured = self._timing_of(lane, size, dtype, yardstick.ceilings)
                timings[subject.name].append(measured)
            self._judge_times(running, timings, yardstick)
        return timings, work, clock_logs

    def _judge_times(
        self, running: Sequence[Subject], timings: dict[str, list[Timing]], yardstick: Yardstick
    ) -> None:
        """Fail who was faster at the latest size than the hardware can be.

        The GPU may have been busy when its ceilings were measured, so that is done again before.
        """
        timed = [subject for subject in running if subject.failure is None]
        if not any(self._why_implausible(timings[subject.name][-1]) for subject in timed):
            return
        if not yardstick.is_sure:
            self._progress("measuring the GPU's ceilings again, since a time is beyond them")
            yardstick.measure_again()
            # all sizes are recorded with the same ceilings
            for found in timings.values():
                found[:] = [self._with_floor(item, yardstick.ceilings) for item in found]
        for subject in timed:
            why = self._why_implausible(timings[subject.name][-1])
            if why:
                subject.fail(WorkerFailedError(Status.IMPLAUSIBLE, why))

    def _why_implausible(self, timed: Timing) -> str:
        fraction = timed.fraction_of_ceiling
        if fraction is None or fraction <= self.protocol.max_fraction_of_ceiling:
            return ""
        return (
            f"{timed.median_us:.2f} us at {timed.size.label} is less than the"
            f" {timed.floor_us:.2f} us that the hardware needs ({timed.floor_kind})"
        )

    def _with_floor(self, timed: Timing, ceilings: Ceilings) -> Timing:
        if timed.clock is Clock.HOST:
            # it measures something else than what the floor bounds
            return timed
        floor_us, kind = floors.floor_of(self.operation.spec, timed.size, timed.dtype, ceilings)
        return dataclasses.replace(
            timed,
            floor_us=floor_us,
            floor_kind=kind,
            fraction_of_ceiling=floor_us / timed.median_us,
        )

    def _timing_of(self, lane: Lane, size: Size, dtype: str, ceilings: Ceilings) -> Timing:
        interval = (
            statistics.median_interval(lane.rounds_us, self.seed)
            if len(lane.rounds_us) > 1
            else Interval(low=lane.median_us, high=lane.median_us)
        )
        timed = Timing(
            size=size,
            dtype=dtype,
            clock=lane.clock,
            rounds_us=tuple(lane.rounds_us),
            median_us=lane.median_us,
            interval_us=interval,
            host_us=lane.host_us,
            referee_us=lane.referee_us,
            floor_us=None,
            floor_kind=None,
            fraction_of_ceiling=None,
        )
        return self._with_floor(timed, ceilings)

    def _compare(self, trials: Sequence[Trial]) -> tuple[Comparison, ...]:
        """The candidate against each reference, and each reference against the baseline."""
        candidate, *references = trials
        if not candidate.timings:
            return ()
        baseline = next(item for item in references if item.implementation.role is Role.BASELINE)
        pairs = [(candidate, item) for item in references]
        pairs += [(item, baseline) for item in references if item is not baseline]
        found: list[Comparison] = []
        for subject, reference in pairs:
            found += statistics.compare(
                subject.implementation.name,
                reference.implementation.name,
                _counted(subject),
                _counted(reference),
                self.sizes,
                candidate.timings[0].clock,
                self.protocol.margin,
                self.seed,
            )
        return tuple(found)

    def _launches(self, work: Sequence[tuple[Size, Lane]]) -> tuple[CompiledKernel, ...]:
        """The different kernels that a call launches at each size, as the driver describes them."""
        gpu = self.gpu
        if gpu is None:
            return ()
        target = f"sm_{gpu.compute_capability.replace('.', '')}"
        dtype = self.operation.spec.timed_dtype
        return tuple(
            kernel
            for size, lane in work
            for kernel in timed_kernels.kernels_of(lane.work, lane.calls, target, size, dtype)
        )

    def _compile_offline(self, trial: Trial) -> Trial:
        """Add what the candidate compiles to for a named target, where there is no GPU."""
        from tritonexp.evaluation import offline

        self._progress(f"compiling for {OFFLINE_TARGET}")
        compiled, failure = offline.compile_for(
            trial.implementation,
            self.operation.spec,
            self.sizes,
            self.operation.spec.timed_dtype,
            OFFLINE_TARGET,
            timeout_s=self.timeout_s,
            hidden=hidden_in(self.operation) if self.sandbox else None,
        )
        compiled = tuple(map(occupancy.with_occupancy, compiled))
        if failure is None:
            return dataclasses.replace(trial, compiled=compiled)
        reason = f"compiling for {OFFLINE_TARGET}: {failure.reason}"
        log = f"{reason}\n{failure.log}"
        if failure.status is not Status.COMPILE_ERROR:
            # the stand-in for a GPU has limits that are not the kernel's fault
            return dataclasses.replace(trial, compiled=compiled, log=log)
        return dataclasses.replace(
            trial, compiled=compiled, status=failure.status, reason=reason, log=log
        )


def _references(
    operation: Operation, expert: str, contenders: Sequence[str]
) -> tuple[Implementation, ...]:
    """The baseline, the chosen expert and contenders; raises ConfigError for an unknown one."""
    experts = {item.name: item for item in operation.experts}
    known = {item.name: item for item in operation.contenders}
    known["compile"] = Implementation(
        name="compile",
        role=Role.CONTENDER,
        source=operation.baseline.source,
        entry_point=operation.entry_point,
        provenance=Provenance(
            origin="library",
            name="torch.compile",
            version=torch.__version__,
            licence="BSD-3-Clause",
            location="torch.compile of the baseline",
        ),
    )
    if expert not in ("auto", "none", *experts):
        there = dict.fromkeys((*experts, *(item.name for item in operation.tutorials)))
        raise ConfigError(
            f"{operation.name} has no expert {expert!r}; there are"
            f" {', '.join((*there, 'auto', 'none'))}."
        )
    unknown = [name for name in contenders if name not in known]
    if unknown:
        raise ConfigError(
            f"{operation.name} has no contender {unknown[0]!r}; there are {', '.join(known)}."
        )
    if expert == "auto":
        chosen = operation.experts[:1]
    else:
        chosen = () if expert == "none" else (experts[expert],)
    return (operation.baseline, *chosen, *(known[name] for name in contenders))


def _failed_trial(implementation: Implementation, status: Status, reason: str, log: str) -> Trial:
    return Trial(
        implementation=implementation,
        status=status,
        reason=reason,
        log=log,
        cases=(),
        kernels=(),
        compiled=(),
        timings=(),
        first_call_s=None,
        compile_s=None,
        autotune_s=None,
        traffic=None,
        dram=(),
    )


def _trial(
    subject: Subject,
    kernels: tuple[KernelShare, ...],
    compiled: tuple[CompiledKernel, ...],
    timings: Sequence[Timing],
    traffic: Traffic | None,
) -> Trial:
    failure = subject.failure
    status = failure.status if failure else Status.CORRECT
    # a time that its status does not vouch for is not kept
    kept = tuple(timings) if status in (Status.CORRECT, Status.IMPLAUSIBLE) else ()
    return Trial(
        implementation=subject.worker.implementation,
        status=status,
        reason=failure.reason if failure else "",
        log=failure.log if failure else "",
        cases=tuple(subject.cases),
        kernels=kernels,
        compiled=compiled,
        timings=kept,
        first_call_s=subject.crew.first_call_s,
        compile_s=subject.crew.compile_s,
        autotune_s=subject.crew.autotune_s,
        traffic=traffic if status is Status.CORRECT else None,
        dram=(),
    )


def _counted(trial: Trial) -> tuple[Timing, ...]:
    """The timings that a comparison may use."""
    return trial.timings if trial.status is Status.CORRECT else ()
