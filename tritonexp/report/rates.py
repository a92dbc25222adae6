"""How often a model's answers are right, and fast: pass@k, fast_p, and how they do against others.

All answers count, those that a strategy did not choose included, and failures count as neither
right nor fast. fast_p is the share of answers that are correct and more than p times as fast as a
reference: here with the whole 95 % interval of the speed-up over all sizes, and beyond the margin
within which a verdict is a tie, so that luck counts for nothing.

Intervals are Wilson's. Does not cover that answers to one question are more alike than answers to
several: over few operations they are too narrow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tritonexp.records import Comparison, Mode, Outcome, Status
from tritonexp.report import view, words
from tritonexp.report.groups import Group, head, keys, share
from tritonexp.statistics import pass_at_k

# the k of pass@k that are told where there are as many samples; pass@1 is the share correct
DRAWS = (2, 3, 5, 10)
# what is looked up by these names
BASELINE, COMPILE, EXPERT = "baseline", "torch.compile", "expert"
# the p of fast_p, and over what
FAST = ((1.0, BASELINE), (2.0, BASELINE), (1.0, COMPILE), (1.0, EXPERT))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What one answer of a model came to."""

    operation: str
    correct: bool
    # by reference: None for one that it was not timed beside
    versus: dict[str, Comparison | None]
    margin: float | None

    def is_fast(self, p: float, reference: str) -> bool | None:
        """Whether it is correct and beyond doubt over p times as fast; None where none timed it."""
        if not self.correct:
            return False
        found = self.versus[reference]
        if found is None:
            return None
        return found.interval is not None and found.interval.low > p * (1 + (self.margin or 0.0))


def answers_of(group: Group) -> tuple[Answer, ...]:
    """A group's answers; a file of the user's is none.

    A recorded answer counts once, however many jobs judged it, and as the worst of them.
    """
    found: dict[int | tuple[str, int], Answer] = {}
    for job in group.jobs:
        for attempt in job.record.attempts:
            if attempt.completion.origin == "file":
                continue
            if attempt is job.record.attempt:
                # a GPU may have refused what stands for the job
                answer = _answer(group, job.shown, correct=job.correct)
            else:
                own = attempt.evaluation
                timed = own is not None and own.mode is Mode.GPU and view.has_times(own)
                shown = view.Timed(evaluation=own, recorded=False) if timed and own else None
                answer = _answer(group, shown, correct=attempt.status is Status.CORRECT)
            key = attempt.completion.sample or (job.record.study_id, attempt.number)
            found[key] = min((found.get(key, answer), answer), key=_merit)
    return tuple(found.values())


def section(groups: Sequence[Group]) -> str:
    """The part of a comparison that tells of answers; empty where no group has several."""
    answers = {item.name: answers_of(item) for item in groups}
    several = [item for item in groups if len(answers[item.name]) > 1]
    lines = []
    if several:
        lines += [
            "## Answers",
            "",
            (
                "An answer is a model's, chosen by its strategy or not. pass@k estimates how often"
                " at least one of k answers is correct, without bias, from all answers of the"
                " group; pass@1 is the share correct."
            ),
            "",
            _pass_table(several, groups, answers),
            "",
        ]
    pooled = _pooled(groups, answers)
    if any(len(known) > 1 for known in pooled.values()):
        lines += [
            *([] if lines else ["## Answers", ""]),
            (
                "Over all operations: fast_p is the share of answers that are correct and over p"
                " times as fast as a reference, with the whole 95 % interval of their speed-up over"
                " all sizes and more than the margin of a tie. Failures count as not fast;"
                " operations without an expert, or that were not timed beside torch.compile, are"
                " left out there."
            ),
            "",
            _fast_table(pooled),
            "",
        ]
        if any(answer.versus[EXPERT] for known in pooled.values() for answer in known):
            lines += ["Against the human expert:", "", _expert_table(pooled), ""]
    return "\n".join(lines)


def _answer(group: Group, shown: view.Timed | None, *, correct: bool) -> Answer:
    versus: dict[str, Comparison | None] = dict.fromkeys((BASELINE, COMPILE, EXPERT))
    if shown is not None:
        versus |= {
            BASELINE: shown.versus_baseline(),
            COMPILE: shown.comparison("compile", None),
            EXPERT: shown.versus_expert(),
        }
    return Answer(
        operation=group.operation,
        correct=correct,
        versus=versus,
        margin=shown.margin if shown else None,
    )


def _merit(answer: Answer) -> tuple[bool, float]:
    """A wrong answer before a slow one, a slow one before a fast one."""
    found = answer.versus[BASELINE]
    return answer.correct, (found.speedup if found else None) or 0.0


def _pass_table(
    several: Sequence[Group], groups: Sequence[Group], answers: dict[str, tuple[Answer, ...]]
) -> str:
    passed = {item.name: [answer.correct for answer in answers[item.name]] for item in several}
    draws = [k for k in DRAWS if k <= max(map(len, passed.values()))]
    return words.table(
        (*head(groups), "correct answers", *(f"pass@{k}" for k in draws)),
        [
            (
                *keys(item, groups),
                share(sum(passed[item.name]), len(passed[item.name])),
                *(_pass_at(k, passed[item.name]) for k in draws),
            )
            for item in several
        ],
    )


def _pass_at(k: int, passed: Sequence[bool]) -> str:
    n = len(passed)
    return words.fraction(pass_at_k(n, sum(passed), k) if k <= n else None)


def _pooled(
    groups: Sequence[Group], answers: dict[str, tuple[Answer, ...]]
) -> dict[tuple[str, ...], tuple[Answer, ...]]:
    """The answers of each model to each prompt, over all operations."""
    found: dict[tuple[str, ...], tuple[Answer, ...]] = {}
    for item in groups:
        if answers[item.name]:
            # without the operation, which comes first
            key = keys(item, groups)[1:]
            found[key] = (*found.get(key, ()), *answers[item.name])
    return found


def _fast_table(pooled: dict[tuple[str, ...], tuple[Answer, ...]]) -> str:
    return words.table(
        (
            *_columns(pooled),
            "correct",
            *(f"fast_{p:g} over {_article(reference)}{reference}" for p, reference in FAST),
        ),
        [
            (
                *key,
                share(sum(answer.correct for answer in known), len(known)),
                *(_fast(known, p, reference) for p, reference in FAST),
            )
            for key, known in pooled.items()
        ],
    )


def _fast(known: Sequence[Answer], p: float, reference: str) -> str:
    fast = [answer.is_fast(p, reference) for answer in _beside(known, reference)]
    if None in fast or not fast:
        return words.MISSING
    return share(sum(bool(item) for item in fast), len(fast))


def _beside(known: Sequence[Answer], reference: str) -> list[Answer]:
    """The answers to operations that were timed beside a reference: some have no expert."""
    there = {answer.operation for answer in known if answer.versus[reference]}
    # of failures alone only the baseline is sure to have been there
    return [answer for answer in known if reference == BASELINE or answer.operation in there]


def _expert_table(pooled: dict[tuple[str, ...], tuple[Answer, ...]]) -> str:
    def outcome(answer: Answer) -> Outcome | None:
        return view.outcome_of(answer.versus[EXPERT]) if answer.correct else None

    kinds = (Outcome.FASTER, Outcome.TIE, Outcome.SLOWER)
    return words.table(
        (*_columns(pooled), *(kind.value for kind in kinds), "wrong or not timed"),
        [
            (*key, *_shares([outcome(answer) for answer in _beside(known, EXPERT)], kinds))
            for key, known in pooled.items()
            if _beside(known, EXPERT)
        ],
    )


def _shares(outcomes: Sequence[Outcome | None], kinds: Sequence[Outcome]) -> tuple[str, ...]:
    counts = [outcomes.count(kind) for kind in kinds]
    return tuple(share(count, len(outcomes)) for count in (*counts, len(outcomes) - sum(counts)))


def _columns(pooled: dict[tuple[str, ...], tuple[Answer, ...]]) -> tuple[str, ...]:
    names = ("model", "prompt", "setting")
    return names[: max(map(len, pooled))]


def _article(reference: str) -> str:
    return "" if reference == COMPILE else "the "
