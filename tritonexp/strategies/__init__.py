"""How often a model is asked, and which answer stands for the study.

A strategy is a module of this folder, not beginning with an underscore, with two functions;
nothing else lists it. run(prompt, provider, evaluator, brief, progress, n) returns the attempts and
the index of the chosen one. asks(n) tells how many answers to the prompt it wants whatever they
are, so that they can be asked for together and ahead, and raises ConfigError for an n that it
cannot serve. One that chooses by what may not be known has a third: remark(attempts, chosen,
evaluator) returns the line that tells the user of it, or None.

Not covered: turns that show the model its earlier failure; a Prompt is one message.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType

from tritonexp.errors import ConfigError
from tritonexp.protocols import Evaluator, Provider
from tritonexp.records import Attempt, OperationBrief, Prompt
from tritonexp.strategies._attempt import candidate_in

__all__ = ["asks", "candidate_in", "remark", "run", "strategy_names"]


def strategy_names() -> tuple[str, ...]:
    """List the strategies: this folder's modules."""
    modules = pkgutil.iter_modules(__path__)
    return tuple(sorted(m.name for m in modules if not m.name.startswith("_")))


def run(  # the five parties of every strategy, and which one
    strategy: str,
    prompt: Prompt,
    provider: Provider,
    evaluator: Evaluator,
    brief: OperationBrief,
    progress: Callable[[str], None],
    n: int | None = None,
) -> tuple[tuple[Attempt, ...], int]:
    """Ask, extract and have judged; returns the attempts and the index of the chosen one.

    n is how many answers to ask for. Raises ConfigError for an unknown strategy or an n that it
    cannot serve, and what the provider and the evaluator raise.
    """
    result: tuple[tuple[Attempt, ...], int] = _module(strategy).run(
        prompt, provider, evaluator, brief, progress, n
    )
    return result


def asks(strategy: str, n: int | None = None) -> int:
    """How many answers a strategy asks for whatever they are; raises ConfigError as run does."""
    count: int = _module(strategy).asks(n)
    return count


def remark(
    strategy: str, attempts: Sequence[Attempt], chosen: int, evaluator: Evaluator
) -> str | None:
    """What a user must know of how the chosen attempt was chosen; None where there is nothing."""
    module = _module(strategy)
    # most strategies have nothing to say
    if not hasattr(module, "remark"):
        return None
    text: str | None = module.remark(attempts, chosen, evaluator)
    return text


def _module(strategy: str) -> ModuleType:
    if strategy not in strategy_names():
        raise ConfigError(
            f"there is no strategy {strategy!r}; there are {', '.join(strategy_names())}."
            f" Choose one, or add tritonexp/strategies/{strategy}.py and its YAML."
        )
    return importlib.import_module(f"{__name__}.{strategy}")
