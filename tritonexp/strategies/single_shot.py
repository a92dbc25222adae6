"""One question, one answer: what the original study did."""

from collections.abc import Callable

from tritonexp.errors import ConfigError
from tritonexp.protocols import Evaluator, Provider
from tritonexp.records import Attempt, OperationBrief, Prompt
from tritonexp.strategies._attempt import judge


def asks(n: int | None) -> int:
    """One; raises ConfigError for an n other than 1."""
    if n not in {None, 1}:
        raise ConfigError(
            f"strategy=single_shot asks once, but strategy.n={n}; leave n out, or choose"
            f" strategy=best_of_n strategy.n={n}."
        )
    return 1


def run(  # the five parties of every strategy, and n
    prompt: Prompt,
    provider: Provider,
    evaluator: Evaluator,
    brief: OperationBrief,
    progress: Callable[[str], None],
    n: int | None,
) -> tuple[tuple[Attempt, ...], int]:
    """Ask once; raises ConfigError for an n other than 1."""
    asks(n)
    progress(f"asking {provider.name}")
    completion = provider.complete(prompt)
    progress("evaluating the answer")
    return (judge(1, prompt, completion, evaluator, brief),), 0
