"""n independent answers to the same prompt; the fastest correct one stands for the study.

The figures of a chosen attempt are the best of several measurements and so a little too good; all
attempts are kept, and it is over them that rates such as pass@k are told.

Without a GPU nothing is timed; then the evaluations that a GPU recorded earlier of the same sources
tell which is the fastest, where there are any for what was asked. Not covered: that they may be of
different GPUs.
"""

from collections.abc import Callable, Sequence

from tritonexp.errors import ConfigError
from tritonexp.protocols import Evaluator, Provider
from tritonexp.records import Attempt, Evaluation, Mode, OperationBrief, Prompt, Status
from tritonexp.strategies._attempt import candidate_in, judge


def asks(n: int | None) -> int:
    """Tell n, which no answer changes; raises ConfigError for one below 1."""
    if n is None or n < 1:
        raise ConfigError(
            f"strategy=best_of_n needs to know how many answers, but n is {n}; set strategy.n to a"
            f" whole number from 1."
        )
    return n


def run(  # the five parties of every strategy, and n
    prompt: Prompt,
    provider: Provider,
    evaluator: Evaluator,
    brief: OperationBrief,
    progress: Callable[[str], None],
    n: int | None,
) -> tuple[tuple[Attempt, ...], int]:
    """Ask n times, then evaluate each answer; raises ConfigError for an n below 1.

    Each call of provider.complete is a fresh sample; the recorded provider plays its samples in
    turn. All answers are had before the first is evaluated, so that a missing recording or a
    refused key ends the job before anything is measured.
    """
    completions = []
    for number in range(1, asks(n) + 1):
        progress(f"asking {provider.name}, {number} of {n}")
        completions.append(provider.complete(prompt))
    candidates = [candidate_in(completion, prompt, brief) for completion in completions]
    attempts = []
    for number, completion in enumerate(completions, start=1):
        progress(f"evaluating answer {number} of {len(completions)}")
        following = next((item for item in candidates[number:] if item is not None), None)
        attempts.append(judge(number, prompt, completion, evaluator, brief, following))
    merits = [_merit(attempt, evaluator) for attempt in attempts]
    return tuple(attempts), max(range(len(attempts)), key=merits.__getitem__)


def remark(attempts: Sequence[Attempt], chosen: int, evaluator: Evaluator) -> str | None:
    """Say what the choice rests on where nothing was timed."""
    correct = [attempt for attempt in attempts if attempt.status is Status.CORRECT]
    if len(attempts) == 1 or not correct or any(map(_is_timed, correct)):
        return None
    known = [attempt for attempt in correct if _recorded(attempt, evaluator) is not None]
    if attempts[chosen] not in known:
        return "Nothing was timed: the first correct answer stands for the run."
    lacking = ", ".join(str(attempt.number) for attempt in correct if attempt not in known)
    return (
        f"Nothing was timed: answer {attempts[chosen].number} of {len(attempts)} stands for the"
        " run, the fastest by the evaluations recorded on a GPU"
        + (f"; of the correct ones, {lacking} have none." if lacking else ".")
    )


def _merit(attempt: Attempt, evaluator: Evaluator) -> tuple[bool, float, bool]:
    """Rank correct before wrong, then fast before slow, then judged before not even code.

    Equals go to the earlier attempt, as where nothing is timed.
    """
    correct, speedup = attempt.status is Status.CORRECT, None
    # a time that was measured before a kernel was found out counts for nothing
    if correct:
        found = attempt.evaluation
        if not _is_timed(attempt):
            found = _recorded(attempt, evaluator) or found
        # a GPU may find wrong what the interpreter let pass
        correct = found is None or found.status is Status.CORRECT
        speedup = _speedup(found) if correct else None
    return correct, speedup or 0.0, attempt.evaluation is not None


def _is_timed(attempt: Attempt) -> bool:
    return attempt.evaluation is not None and attempt.evaluation.mode is Mode.GPU


def _recorded(attempt: Attempt, evaluator: Evaluator) -> Evaluation | None:
    return None if attempt.source is None else evaluator.recorded(attempt.source)


def _speedup(evaluation: Evaluation | None) -> float | None:
    comparison = None if evaluation is None else evaluation.comparison("baseline")
    return None if comparison is None else comparison.speedup
