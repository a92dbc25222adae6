"""n independent answers to the same prompt; the fastest correct one stands for the study.

The figures of a chosen attempt are the best of several measurements and so a little too good; all
attempts are kept, and it is over them that rates such as pass@k are told.
"""

from collections.abc import Callable

from tritonexp.errors import ConfigError
from tritonexp.protocols import Evaluator, Provider
from tritonexp.records import Attempt, Completion, OperationBrief, Prompt, Status
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
    completions: list[Completion] = []
    for number in range(1, asks(n) + 1):
        progress(f"asking {provider.name}, {number} of {n}")
        completions.append(provider.complete(prompt))
        # a file has one answer; judging it again would pass noise off as choice
        if completions[-1].origin == "file":
            break
    candidates = [candidate_in(completion, prompt, brief) for completion in completions]
    attempts = []
    for number, completion in enumerate(completions, start=1):
        progress(f"evaluating answer {number} of {len(completions)}")
        following = next((item for item in candidates[number:] if item is not None), None)
        attempts.append(judge(number, prompt, completion, evaluator, brief, following))
    return tuple(attempts), max(range(len(attempts)), key=lambda index: _merit(attempts[index]))


def _merit(attempt: Attempt) -> tuple[bool, float, bool]:
    """Rank correct before wrong, then fast before slow, then judged before not even code.

    Equals go to the earlier attempt, as where nothing is timed.
    """
    correct, speedup = attempt.status is Status.CORRECT, None
    # a time that was measured before a kernel was found out counts for nothing
    if correct and attempt.evaluation is not None:
        comparison = attempt.evaluation.comparison("baseline")
        speedup = None if comparison is None else comparison.speedup
    return correct, speedup or 0.0, attempt.evaluation is not None
