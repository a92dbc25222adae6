"""How long an evaluation takes from candidate to verdict, phase by phase, with warm fork servers.

Repeat it on a machine with a CUDA GPU, from the project's root:

    PYTHONPATH=. python benchmarks/evaluation_speed.py [operation] [evaluations] [override ...]

The candidate is the operation's house kernel; sizes=study, timing=device, the default expert and
contenders, unless overrides in Hydra's words say otherwise, as in
'contenders=[torch,compile,house]'. The first evaluation also measures the ceilings where they are
not cached; what counts is the later ones. Compiled kernels are never kept between evaluations. Half
of them come one right after the other; before the other half there is a pause as when a model is
asked, in which the workers of the next evaluation are forked.
"""

import itertools
import sys
import time
from pathlib import Path

from tritonexp import config, operations
from tritonexp.evaluation import Referee
from tritonexp.records import Implementation, Mode, Provenance, Role
from tritonexp.study import referee_arguments

PAUSE_S = 4.0
PHASES = ("starting the workers", "verifying", "timing", "looking at the kernels", "done")


def main(name: str, evaluations: int, overrides: list[str]) -> None:
    """Print a line for each evaluation: seconds of each phase, and of the whole."""
    operation = operations.load(name)
    source = (operation.folder / "house.py").read_text()
    candidate = Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=source,
        entry_point=name,
        provenance=Provenance(
            origin="house", name=Path(__file__).name, version=None, licence=None, location=None
        ),
    )
    begun: dict[str, float] = {}

    def note(message: str) -> None:
        phase = next((phase for phase in PHASES if message.startswith(phase)), None)
        if phase is not None:
            begun.setdefault(phase, time.perf_counter())

    arguments = referee_arguments(config.compose([f"operation={name}", *overrides]), operation)
    begin = time.perf_counter()
    with Referee(**arguments, progress=note) as referee:
        if referee.mode is not Mode.GPU:
            sys.exit("this benchmark needs a CUDA GPU, and torch finds none here.")
        referee.wait_ready()
        print(f"{referee.gpu.name}; fork servers ready after {time.perf_counter() - begin:.2f} s")
        for number in range(1, evaluations + 1):
            begun.clear()
            paused = number % 2 == 0
            if paused:
                referee.prepare()
                time.sleep(PAUSE_S)
            evaluation = referee.evaluate(candidate)
            begun["done"] = time.perf_counter()
            seconds = [
                f"{phase} {begun[following] - begun[phase]:.2f} s"
                for phase, following in itertools.pairwise(PHASES)
            ]
            print(
                f"{number}{' after a pause' if paused else ''}: {evaluation.status},"
                f" {len(evaluation.candidate.cases)} cases, {len(evaluation.trials)}"
                f" implementations, {evaluation.duration_s:.2f} s:"
                f" {'; '.join(seconds)}"
            )


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "softmax",
        int(sys.argv[2]) if len(sys.argv) > 2 else 3,
        sys.argv[3:],
    )
