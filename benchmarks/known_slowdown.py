"""Whether a kernel that is slower on purpose is called SLOWER, and how often.

Repeat it on a machine with a CUDA GPU, from the project's root:

    PYTHONPATH=. python benchmarks/known_slowdown.py [percent] [runs] [rows columns]

The candidate is softmax's house kernel that computes some of its rows twice, so that it moves so
many percent more bytes; it is judged against the house kernel itself, by timing=device. Each run is
a whole evaluation with workers of its own.
"""

import sys
from pathlib import Path

from tritonexp import config, operations
from tritonexp.evaluation import Referee
from tritonexp.records import Implementation, Mode, Outcome, Provenance, Role
from tritonexp.study import referee_arguments

# what is replaced in the house kernel: each program takes a row block, and some take one again
CHANGES = (
    ("rows = tl.program_id(0)", "rows = (tl.program_id(0) % tl.cdiv(n_rows, BLOCK_ROWS))"),
    ("(triton.cdiv(n_rows, block_rows),)", "(round(triton.cdiv(n_rows, block_rows) * {factor}),)"),
)


def main(percent: float, runs: int, extents: tuple[int, ...]) -> None:
    """Print a line for each run, and how many of them saw the difference."""
    operation = operations.load("softmax")
    source = (operation.folder / "house.py").read_text()
    for old, new in CHANGES:
        if source.count(old) != 1:
            sys.exit(f"softmax's house kernel has no single {old!r} any more; adapt CHANGES.")
        source = source.replace(old, new.format(factor=1 + percent / 100))
    slower = Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=source,
        entry_point="softmax",
        provenance=Provenance(
            origin="house", name=Path(__file__).name, version=None, licence=None, location=None
        ),
    )
    overrides = ["operation=softmax", "expert=none", "contenders=[house]"]
    sizes = f"sizes.custom=[[{','.join(map(str, extents))}]]"
    arguments = referee_arguments(config.compose([*overrides, sizes]), operation)
    seen = 0
    with Referee(**arguments) as referee:
        if referee.mode is not Mode.GPU:
            sys.exit("this benchmark needs a CUDA GPU, and torch finds none here.")
        for number in range(1, runs + 1):
            evaluation = referee.evaluate(slower)
            if not evaluation.comparisons:
                sys.exit(f"{evaluation.candidate.status}: {evaluation.candidate.reason}")
            found = next(
                item
                for item in evaluation.comparisons
                if (item.subject, item.reference) == ("candidate", "house") and item.size
            )
            rounds = len(evaluation.candidate.timings[0].rounds_us)
            seen += found.outcome is Outcome.SLOWER
            print(
                f"{number}: {found.outcome}, {found.speedup:.4f} times as fast"
                f" [{found.interval.low:.4f}, {found.interval.high:.4f}] after {rounds} rounds"
            )
    print(f"{percent:g} % more work at {'x'.join(map(str, extents))}: SLOWER in {seen} of {runs}")


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 2.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else 10,
        tuple(map(int, sys.argv[3:5])) if len(sys.argv) > 4 else (4096, 4096),
    )
