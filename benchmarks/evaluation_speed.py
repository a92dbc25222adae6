"""How long an evaluation takes from candidate to verdict, phase by phase, with warm fork servers.

Repeat it on a machine with a CUDA GPU, from the project's root:

    PYTHONPATH=. python benchmarks/evaluation_speed.py [operation] [evaluations] [override ...]

The candidate is the operation's house kernel; sizes=study, timing=device, the default expert and
contenders, unless overrides in Hydra's words say otherwise, as in
'contenders=[torch,compile,house]', or model=file model.path=kernel.py for another candidate. One
that holds whole rows takes long to compile at the longest of the irregular sizes. The first
evaluation also measures the ceilings where they are not cached; what counts is the later ones.
Compiled kernels are never kept between evaluations. As many are done in each of three ways: after a
pause as when a model is asked, in which the workers of the next evaluation are forked; one right
after the other; and one right after the other where the referee is told what comes next, and has it
compiled while it times, as in a sweep.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tritonexp import config, operations
from tritonexp.evaluation import Referee
from tritonexp.records import Implementation, Mode, Provenance, Role
from tritonexp.study import referee_arguments

PAUSE_S = 4.0
PHASES = ("starting the workers", "verifying", "timing", "looking at the kernels", "done")
AFTER_A_PAUSE, IN_A_ROW, FORETOLD = "after a pause", "in a row", "foretold"


def main(name: str, evaluations: int, overrides: list[str]) -> None:
    """Print a line for each evaluation: seconds of each phase, and of the whole."""
    operation = operations.load(name)
    composed = config.compose([f"operation={name}", *overrides])
    path = composed.model.path or operation.folder / "house.py"
    source = Path(path).read_text()
    candidate = Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=source,
        entry_point=name,
        provenance=Provenance(
            origin="file", name=Path(path).name, version=None, licence=None, location=None
        ),
    )
    begun: dict[str, float] = {}

    def note(message: str) -> None:
        phase = next((phase for phase in PHASES if message.startswith(phase)), None)
        if phase is not None:
            begun.setdefault(phase, time.perf_counter())

    arguments = referee_arguments(composed, operation)
    begin = time.perf_counter()
    with Referee(**arguments, progress=note) as referee:
        if referee.mode is not Mode.GPU:
            sys.exit("this benchmark needs a CUDA GPU, and torch finds none here.")
        referee.wait_ready()
        print(f"{referee.gpu.name}; fork servers ready after {time.perf_counter() - begin:.2f} s")

        def evaluate(way: str, upcoming: Callable[[], Implementation] | None = None) -> float:
            if way == AFTER_A_PAUSE:
                referee.prepare()
                time.sleep(PAUSE_S)
            begun.clear()
            evaluation = referee.evaluate(candidate, upcoming)
            begun["done"] = time.perf_counter()
            # one that fails is not timed
            there = [phase for phase in PHASES if phase in begun]
            seconds = [
                f"{phase} {begun[following] - begun[phase]:.2f} s"
                for phase, following in itertools.pairwise(there)
            ]
            # of each size: more than are asked for where a verdict is open, see timing.max_rounds
            rounds = [str(len(log.samples)) for log in evaluation.clock_logs]
            print(
                f"{way}: {evaluation.status}, {len(evaluation.candidate.cases)} cases,"
                f" {len(evaluation.trials)} implementations, {evaluation.duration_s:.2f} s:"
                f" {'; '.join(seconds)}; rounds {', '.join(rounds)}"
            )
            return evaluation.duration_s

        evaluate("the first")
        medians = {
            way: statistics.median(evaluate(way) for _ in range(evaluations))
            for way in (AFTER_A_PAUSE, IN_A_ROW)
        }
        # the first of these only tells what comes next
        foretold = [evaluate(FORETOLD, lambda: candidate) for _ in range(evaluations + 1)][1:]
        medians[FORETOLD] = statistics.median(foretold)
    for way, median_s in medians.items():
        print(f"{way}: {median_s:.2f} s, {60 / median_s:.1f} a minute")


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "softmax",
        int(sys.argv[2]) if len(sys.argv) > 2 else 3,
        sys.argv[3:],
    )
