"""How sure this machine's verdicts are: one kernel against itself, over and over.

Copies of one kernel, each in a worker of its own, are timed in turns like any implementations. Two
copies that are not called a tie are a false verdict. What was found is kept with the GPU, driver
and versions for which it holds, and reports cite it.

Does not cover noise that only other kernels meet, such as the power limit under heavy arithmetic,
unless it is such a kernel that is calibrated with; nor whether a difference that is there is seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import triton

from tritonexp import statistics
from tritonexp.errors import ConfigError, EvaluationError
from tritonexp.evaluation import environment, inputs, lease, process, timing
from tritonexp.evaluation.clocks import ClockReader
from tritonexp.evaluation.forkserver import Settings, standing_server
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.layout import lay_out
from tritonexp.evaluation.memory import Arena
from tritonexp.evaluation.process import Crew, WorkerFailedError
from tritonexp.evaluation.verification import results_judge
from tritonexp.operations import Operation
from tritonexp.records import (
    Calibration,
    Gpu,
    Implementation,
    Interval,
    Outcome,
    Role,
    SelfComparison,
    Size,
    TimingProtocol,
    from_json,
    sha256_of,
    to_json,
)
from tritonexp.user_cache import cache_folder

# raised when what is timed, or how, changes, so that figures of an older way are not cited
METHOD = 4
# as many as an ordinary evaluation has implementations; each two of them are a pair
COPIES = 6
# measurements until the workers are new ones, each in another's place: where they lie in memory
# makes a difference
PER_CREW = 10
# of the pairs, for the spread of intervals and ratios
CENTRAL = (2.5, 97.5)
USUAL = 95


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two copies of a kernel, compared at one size; one that failed has no figures."""

    ratio: float | None
    interval: Interval | None
    outcome: Outcome


def calibrate(
    operation: Operation,
    sizes: Sequence[Size],
    protocol: TimingProtocol,
    *,
    pairs: int,
    seed: int = 0,
    timeout_s: float = 60.0,
    sandbox: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Compare the operation's house kernel with itself, in at least so many pairs at each size.

    A pair of which one is found to fail, as where two clocks disagree, is a false verdict too. What
    was found so far is kept after each crew. Raises ConfigError without a GPU, for no pairs or no
    house kernel, and EvaluationError where no copy of the kernel can be timed.
    """
    gpu = environment.find_gpu()
    if gpu is None:
        raise ConfigError("times need a GPU, and this machine has none that torch can use.")
    if pairs < 1:
        raise ConfigError(f"{pairs} pairs say nothing; give 1 or more.")
    kernel = next((item for item in operation.contenders if item.name == "house"), None)
    if kernel is None:
        raise ConfigError(
            f"{operation.name} has no house kernel to compare with itself; give it a house.py."
        )
    found: dict[Size, list[Pair]] = {size: [] for size in sizes}
    settings = Settings(gpu.compute_capability, sandbox=sandbox)
    generator = np.random.default_rng(seed)
    with (
        lease.leased(gpu.uuid, progress=progress),
        ClockReader(gpu.uuid) as clocks,
        _arenas(operation, sizes, protocol, gpu) as arenas,
    ):
        taken = 0
        while taken * (COPIES // 2) < pairs:
            places = [arenas[index] for index in generator.permutation(COPIES)]
            with _copies(kernel, settings, places) as crews:
                workers = [crew.workers[0] for crew in crews]
                for _ in range(PER_CREW):
                    for size in sizes:
                        progress(f"pair {len(found[size]) + 1} of {pairs} at {size.label}")
                        dtype = operation.spec.timed_dtype
                        lanes, _ = timing.time_in_turns(
                            operation.spec,
                            size,
                            dtype,
                            workers,
                            protocol,
                            gpu,
                            inputs.drawer(operation.spec, size, dtype, "cuda"),
                            results_judge(operation, dtype, size),
                            clocks,
                            timeout_s,
                            progress,
                        )
                        shuffled = [lanes[index] for index in generator.permutation(COPIES)]
                        found[size] += pairs_of(shuffled, protocol.margin, seed)
                    taken += 1
                    is_over = taken * (COPIES // 2) >= pairs
                    if is_over or not all(worker.idle for worker in workers):
                        break
            calibration = _kept(operation, kernel, protocol, gpu, found)
    return calibration


def _kept(
    operation: Operation,
    kernel: Implementation,
    protocol: TimingProtocol,
    gpu: Gpu,
    found: Mapping[Size, Sequence[Pair]],
) -> Calibration:
    """What was found so far, in its file."""
    calibration = Calibration(
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        gpu_name=gpu.name,
        operation=operation.name,
        source_sha256=sha256_of(kernel.source),
        dtype=operation.spec.timed_dtype,
        protocol=protocol,
        sizes=tuple(summed_up(size, pairs) for size, pairs in found.items()),
    )
    path = path_of(gpu, protocol)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(calibration), encoding="utf-8")
    return calibration


def known(gpu: Gpu, protocol: TimingProtocol) -> Calibration | None:
    """What was last found on this GPU, with this driver and these versions, by this protocol."""
    try:
        return from_json(Calibration, path_of(gpu, protocol).read_bytes())
    except (OSError, ValueError):
        # none, or one that an earlier version of ours wrote
        return None


def path_of(gpu: Gpu, protocol: TimingProtocol) -> Path:
    """Where a calibration is kept."""
    holds_for = (gpu.uuid, gpu.driver, torch.__version__, triton.__version__, METHOD)
    key = sha256_of(f"{holds_for} {to_json(protocol)}")
    return cache_folder() / f"calibration-{key[:16]}.json"


def pairs_of(lanes: Sequence[Lane], margin: float, seed: int) -> list[Pair]:
    """Each two lanes compared; raises EvaluationError where all have failed."""
    failures = [lane.failure for lane in lanes if lane.failure is not None]
    if len(failures) == len(lanes):
        raise EvaluationError(
            f"every copy of the kernel failed, the first with {failures[0].status}:"
            f" {failures[0].reason}. Nothing is learned of this machine from that; correct the"
            " house kernel."
        )
    return [
        Pair(None, None, Outcome.FAILED)
        if one.failure or other.failure
        else Pair(*statistics.paired(one.rounds_us, other.rounds_us, margin, seed))
        for one, other in zip(lanes[::2], lanes[1::2], strict=True)
    ]


def summed_up(size: Size, pairs: Sequence[Pair]) -> SelfComparison:
    """What the pairs of one size say together; raises EvaluationError where none has figures."""
    ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
    intervals = [pair.interval for pair in pairs if pair.interval is not None]
    if not ratios:
        raise EvaluationError(
            f"no two copies of the kernel could be compared at {size.label}; see python -m"
            " tritonexp doctor, and run it again."
        )
    low, high = np.percentile(ratios, CENTRAL)
    reaches = [max(1 - interval.low, interval.high - 1) for interval in intervals]
    return SelfComparison(
        size=size,
        pairs=len(pairs),
        false_verdicts=sum(pair.outcome is not Outcome.TIE for pair in pairs),
        ratios=Interval(low=float(low), high=float(high)),
        usual_reach=float(np.percentile(reaches, USUAL)),
        largest_reach=float(max(reaches)),
    )


@contextlib.contextmanager
def _arenas(
    operation: Operation, sizes: Sequence[Size], protocol: TimingProtocol, gpu: Gpu
) -> Iterator[list[Arena]]:
    spec, dtype = operation.spec, operation.spec.timed_dtype
    size_bytes = max(
        lay_out(spec, size, dtype, timing.most_sets(spec, size, dtype, protocol, gpu)).size_bytes
        for size in sizes
    )
    with contextlib.ExitStack() as stack:
        arenas = [Arena(size_bytes, "cuda") for _ in range(COPIES)]
        for arena in arenas:
            stack.callback(arena.close)
        yield arenas


@contextlib.contextmanager
def _copies(
    kernel: Implementation, settings: Settings, arenas: Sequence[Arena]
) -> Iterator[list[Crew]]:
    """Workers that have imported the kernel, each as if it were another implementation."""
    server = standing_server(settings)
    roles = (Role.CANDIDATE, *[Role.CONTENDER] * (COPIES - 1))
    with contextlib.ExitStack() as stack:
        crews = []
        for number, (role, arena) in enumerate(zip(roles, arenas, strict=True), 1):
            copy = dataclasses.replace(kernel, name=f"copy-{number}", role=role)
            crews.append(Crew(server, copy, [arena]))
            stack.callback(crews[-1].close)
        for crew in crews:
            try:
                crew.workers[0].finish_start(process.START_TIMEOUT_S)
            except WorkerFailedError as failure:
                raise EvaluationError(
                    f"the house kernel cannot be imported: {failure.reason}; correct its house.py."
                ) from failure
        yield crews
