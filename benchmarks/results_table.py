"""The results of README.md, made from the evaluations that are recorded under kernels/.

Repeat it after new ones were recorded, from the project's root:

    PYTHONPATH=. python benchmarks/results_table.py

Everything between README's two marks is written anew; a test holds the one against the other.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from tritonexp import operations
from tritonexp.records import Comparison, Evaluation, Role, StudyRecord, Trial, from_json
from tritonexp.report import words

ROOT = Path(__file__).resolve().parent.parent
MARKS = re.compile(r"(?<=<!-- results -->\n).*(?=<!-- /results -->)", re.DOTALL)
# whose sides are shown one by one: the operation, and the first of its records with such a name
SHOWN = "baseline_only-02"
EXPERT_NAMES = {"liger": "Liger"}


def main() -> None:
    """Write the results into README.md."""
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(MARKS.sub(lambda _: section(), text), encoding="utf-8")


def section() -> str:
    """What stands between the marks."""
    softmax = records_of("softmax")
    others = {
        name: records_of(name)[0].evaluation for name in operations.names() if name != "softmax"
    }
    lines = [
        "",
        *heading(softmax),
        "",
        responses_table(softmax),
        "",
        (
            f"All sides of one of these evaluations; its `record.json` is"
            f" `kernels/softmax/evaluations/nvidia-h200/{SHOWN}.json`:"
        ),
        "",
        sides_table(shown_of("softmax")),
        "",
        *(told(name, found) for name, found in others.items() if found is not None),
        "",
    ]
    return "\n".join(lines) + "\n"


def records_of(operation: str) -> list[StudyRecord]:
    """The recorded evaluations of an operation's responses, by prompt and sample."""
    paths = (operations.KERNELS_DIR / operation / "evaluations").rglob("*.json")
    found = [from_json(StudyRecord, path.read_bytes()) for path in paths]
    return sorted(
        found, key=lambda item: (item.choices.prompt, item.attempt.completion.sample or 0)
    )


def shown_of(operation: str) -> Evaluation:
    """The one evaluation of which all sides are shown."""
    folder = operations.KERNELS_DIR / operation / "evaluations"
    path = next(folder.rglob(f"{SHOWN}.json"))
    evaluation = from_json(StudyRecord, path.read_bytes()).evaluation
    if evaluation is None:
        raise ValueError(f"{path} holds no evaluation; record it on a GPU.")
    return evaluation


def cut_off(operation: str, records: Sequence[StudyRecord]) -> list[tuple[str, int]]:
    """Prompt and sample of the recorded responses that have no evaluation."""
    known = {(item.choices.prompt, item.attempt.completion.sample) for item in records}
    paths = (operations.KERNELS_DIR / operation / "recorded").glob("*/*.md")
    there = {(path.parent.name, int(path.stem)): path for path in paths}
    missing = sorted(there.keys() - known)
    for key in missing:
        if "\ncomplete: false\n" not in there[key].read_text(encoding="utf-8"):
            raise ValueError(f"{there[key]} is complete and has no evaluation; record it on a GPU.")
    return missing


def heading(records: Sequence[StudyRecord]) -> list[str]:
    """Where and how they were measured."""
    evaluations = [item.evaluation for item in records if item.evaluation is not None]
    machines = {
        f"{item.environment.gpu.name} (driver {item.environment.gpu.driver}, torch"
        f" {item.environment.torch}, triton {item.environment.triton})"
        for item in evaluations
        if item.environment.gpu is not None
    }
    days = sorted({words.day(item.environment.date) for item in evaluations})
    rounds = [len(timing.rounds_us) for item in evaluations for timing in item.candidate.timings]
    cut = cut_off("softmax", records)
    span = words.extent([float(count) for count in rounds])
    return [
        (
            f"Softmax, {evaluations[0].dtype}, on one {' and one '.join(sorted(machines))},"
            f" {' to '.join(dict.fromkeys((days[0], days[-1])))}:"
        ),
        (
            f"{len(records) + len(cut)} recorded responses of Claude (exact version not recorded),"
            f" of which {len(records)} are correct and {len(cut)} cut off on the way."
        ),
        (
            f"Device time in µs per call, median over {span} rounds; speed-ups are geometric means"
            " over the sizes with 95 % intervals."
        ),
    ]


def responses_table(records: Sequence[StudyRecord]) -> str:
    """A row for each recorded response."""
    sizes = [timing.size.label for timing in shown_of("softmax").candidate.timings]
    rows = []
    for record in records:
        evaluation = record.evaluation
        if evaluation is None:
            continue
        candidate, expert = evaluation.candidate, evaluation.expert
        fractions = [timing.fraction_of_ceiling or math.nan for timing in candidate.timings]
        rows.append(
            (
                record.choices.prompt,
                record.attempt.completion.sample or 0,
                *(words.time_us(timing.median_us) for timing in candidate.timings),
                words.verdict(evaluation.comparison("baseline")),
                words.verdict(evaluation.comparison(expert.implementation.name if expert else "")),
                words.fraction(math.exp(math.fsum(map(math.log, fractions)) / len(fractions))),
            )
        )
    missing = words.MISSING
    rows += [
        (prompt, sample, *[missing] * len(sizes), "TRUNCATED", "TRUNCATED", missing)
        for prompt, sample in cut_off("softmax", records)
    ]
    head = ("prompt", "sample", *sizes, "over the baseline", "over the expert", "of the ceiling")
    return words.table(head, [tuple(map(str, row)) for row in sorted(rows)])


def sides_table(evaluation: Evaluation) -> str:
    """A row for each side of an evaluation, and one for the floor."""
    rows = [
        (
            side_of(trial),
            *(words.timing(timing) for timing in trial.timings),
            words.verdict(over_baseline(evaluation, trial)),
        )
        for trial in evaluation.trials
    ]
    floors = [timing.floor_us for timing in evaluation.candidate.timings]
    rate = evaluation.ceilings.copy_gb_s if evaluation.ceilings else math.nan
    rows.append((f"floor (copy at {rate:.0f} GB/s)", *map(words.time_us, floors), words.MISSING))
    labels = (timing.size.label for timing in evaluation.candidate.timings)
    return words.table(("side", *labels, "over the baseline"), rows)


def side_of(trial: Trial) -> str:
    """A side's name, with what it is."""
    item = trial.implementation
    if item.name == item.role.value:
        return item.name
    version = f" {item.provenance.version}" if item.role is Role.EXPERT else ""
    return f"{EXPERT_NAMES.get(item.name, item.name)}{version} ({item.role.value})"


def over_baseline(evaluation: Evaluation, trial: Trial) -> Comparison | None:
    """A side against the baseline, over all sizes."""
    return evaluation.comparison("baseline", subject=trial.implementation.name)


def told(operation: str, evaluation: Evaluation) -> str:
    """An operation's first response in a sentence."""
    expert = evaluation.expert
    against = "it has no human expert's kernel to compare with"
    if expert is not None:
        name = expert.implementation.name
        against = f"{words.verdict(evaluation.comparison(name))} against {EXPERT_NAMES[name]}"
    return (
        f"{operation} in {evaluation.dtype}, one recorded response, same GPU:"
        f" {words.verdict(evaluation.comparison('baseline'))} against its baseline; {against}."
    )


if __name__ == "__main__":
    main()
