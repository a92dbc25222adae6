"""Whether two runs of the same sweep, on two machines or days, come to the same verdicts.

Repeat it, from the project's root, on two folders that hold record.json files, such as the
tracking.folder of each run:

    PYTHONPATH=. python benchmarks/agreement.py FIRST SECOND

The records are matched by operation, prompt, sample and source; of several of one kind the latest
counts. A disagreement within 2 % of a tie is told and does not count: the margin is 1 %, and a
kernel that is 1 % faster is rightly called a tie on one day and faster on another.
"""

import sys
from pathlib import Path

from tritonexp.records import Comparison, Mode, Outcome, StudyRecord, from_json

NEAR_TIE = 0.02

Key = tuple[str, str, int | None, str | None]


def main(first: Path, second: Path) -> int:
    """Print every disagreement and the sum; the exit status is 1 if one counts."""
    one, other = read(first), read(second)
    both = one.keys() & other.keys()
    verdicts = disagreements = 0
    for key in sorted(both, key=str):
        statuses = [record.status for record in (one[key], other[key])]
        if statuses[0] is not statuses[1]:
            disagreements += 1
            print(f"DISAGREE: {key[:3]} {statuses[0]} and {statuses[1]}")
        first_found, second_found = verdicts_of(one[key]), verdicts_of(other[key])
        for place in sorted(first_found.keys() | second_found.keys()):
            found, again = first_found.get(place), second_found.get(place)
            verdicts += 1
            if found is None or again is None:
                disagreements += 1
                print(f"DISAGREE: {key[:3]} {place}: only in one of them")
            elif found.outcome is not again.outcome:
                counts = not (is_near_tie(found) and is_near_tie(again))
                disagreements += counts
                print(
                    f"{'DISAGREE' if counts else 'near a tie'}: {key[:3]} {place}:"
                    f" {told(found)} and {told(again)}"
                )
    print(
        f"{len(both)} evaluations in both, {verdicts} verdicts, {disagreements} disagreements that"
        f" are not within {NEAR_TIE:.0%} of a tie"
    )
    if not verdicts:
        print("there is nothing in common; give the folders of two runs of the same sweep")
    return int(bool(disagreements) or not verdicts)


def read(folder: Path) -> dict[Key, StudyRecord]:
    """The records of a folder that were evaluated on a GPU, by what they evaluate."""
    found: dict[Key, StudyRecord] = {}
    for path in folder.rglob("record.json"):
        record = from_json(StudyRecord, path.read_bytes())
        if record.evaluation is None or record.evaluation.mode is not Mode.GPU:
            continue
        sample = record.attempt.completion.sample
        choices = record.choices
        key = (choices.operation, choices.prompt, sample, record.attempt.source)
        if key not in found or found[key].started < record.started:
            found[key] = record
    return found


def verdicts_of(record: StudyRecord) -> dict[tuple[str, str, str], Comparison]:
    """Comparisons by (subject, reference, size)."""
    evaluation = record.evaluation
    return {
        (item.subject, item.reference, item.size.label if item.size else "all sizes"): item
        for item in (evaluation.comparisons if evaluation else ())
    }


def is_near_tie(found: Comparison) -> bool:
    """Whether a verdict could as well have been the other."""
    if found.outcome is Outcome.FAILED or found.speedup is None:
        return False
    return abs(found.speedup - 1) <= NEAR_TIE


def told(found: Comparison) -> str:
    """A verdict and its figure."""
    ratio = "" if found.speedup is None else f" ({found.speedup:.4f})"
    return f"{found.outcome}{ratio}"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("give two folders that hold record.json files")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
