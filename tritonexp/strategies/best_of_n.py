"""n independent answers to the same prompt; the fastest correct one stands for the study.

The figures of a chosen attempt are the best of several measurements and so a little too good; all
attempts are kept, and it is over them that rates such as pass@k are told.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from tritonexp.errors import ConfigError
from tritonexp.protocols import Evaluator, Provider
from tritonexp.records import Attempt, Completion, OperationBrief, Prompt, Status
from tritonexp.strategies._attempt import judge


def run(  # the five parties of every strategy, and n
    prompt: Prompt,
    provider: Provider,
    evaluator: Evaluator,
    brief: OperationBrief,
    progress: Callable[[str], None],
    n: int | None,
) -> tuple[tuple[Attempt, ...], int]:
    """Ask n times, then evaluate each answer; raises ConfigError for an n below 1.

    Each call of provider.complete is a fresh sample, as many of them at once as the provider
    allows; the recorded provider plays its samples in turn. All answers are had before the first is
    evaluated, so that a missing recording or a refused key ends the job before anything is
    measured.
    """
    if n is None or n < 1:
        raise ConfigError(
            f"strategy=best_of_n needs to know how many answers, but n is {n}; set strategy.n to a"
            f" whole number from 1."
        )
    completions = (_ask_together if provider.parallel > 1 else _ask_in_turn)(
        prompt, provider, progress, n
    )
    attempts = []
    for number, completion in enumerate(completions, start=1):
        progress(f"evaluating answer {number} of {len(completions)}")
        attempts.append(judge(number, prompt, completion, evaluator, brief))
    return tuple(attempts), max(range(len(attempts)), key=lambda index: _merit(attempts[index]))


def _ask_in_turn(
    prompt: Prompt, provider: Provider, progress: Callable[[str], None], n: int
) -> list[Completion]:
    completions: list[Completion] = []
    for number in range(1, n + 1):
        progress(f"asking {provider.name}, {number} of {n}")
        completions.append(provider.complete(prompt))
        # a file has one answer; judging it again would pass noise off as choice
        if completions[-1].origin == "file":
            break
    return completions


def _ask_together(
    prompt: Prompt, provider: Provider, progress: Callable[[str], None], n: int
) -> list[Completion]:
    """The answers in the order in which they were asked for; the first failure ends it."""
    progress(f"asking {provider.name} for {n} answers, {min(n, provider.parallel)} at once")
    with ThreadPoolExecutor(min(n, provider.parallel)) as pool:
        asked = [pool.submit(provider.complete, prompt) for _ in range(n)]
        try:
            for number, answer in enumerate(as_completed(asked), start=1):
                answer.result()
                progress(f"asking {provider.name}, {number} of {n} have come")
        except BaseException:
            # whoever has not been asked yet will not be
            pool.shutdown(cancel_futures=True)
            raise
    return [answer.result() for answer in asked]


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
