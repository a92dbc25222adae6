"""What a value of the configuration may be, beyond its type; told before anything is opened.

Does not cover what only an operation, a provider, a strategy or a GPU knows: each checks its own.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tritonexp.errors import ConfigError
from tritonexp.records import Clock

if TYPE_CHECKING:
    from tritonexp.config import ModelConfig, StudyConfig, TimingConfig

# of fewer the smallest and the largest are hardly an interval
LEAST_ROUNDS = 5
# less is no time to answer in, and more than a day nobody waits
TIMEOUTS_S = (1, 86_400)

# a key, its value, whether it is allowed, and what is
Check = tuple[str, object, bool, str]


def check(config: StudyConfig) -> None:
    """Raise ConfigError for the first value that is not allowed."""
    for key, value, is_allowed, allowed in _checks(config):
        if not is_allowed:
            raise ConfigError(f"{key}={value} is not allowed; give {allowed}.")


def check_keys(given: Mapping[str, Any], known: type, prefix: str = "") -> None:
    """Raise ConfigError for a key that a group's dataclass does not have, as after `+modle=opus`.

    Hydra adds what begins with a plus whatever it is.
    """
    fields = {item.name: item.default_factory for item in dataclasses.fields(known)}
    for key, value in given.items():
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" (did you mean {prefix}{close[0]}, without a plus?)" if close else ""
            raise ConfigError(
                f"there is no key {prefix}{key}{hint}; there are"
                f" {', '.join(prefix + name for name in fields)}."
            )
        group = fields[key]
        if isinstance(group, type) and isinstance(value, Mapping):
            check_keys(value, group, f"{prefix}{key}.")


def _checks(config: StudyConfig) -> Iterator[Check]:
    yield "seed", config.seed, config.seed >= 0, "0 or more"
    names = config.contenders
    yield "contenders", names, len(set(names)) == len(names), "each contender once"
    yield "strategy.n", config.strategy.n, config.strategy.n >= 1, "1 or more"
    parts = config.prompt.components
    yield "prompt.components", parts, bool(parts), "the names of one template or more"
    for key in ("folder", "experiment"):
        value = getattr(config.tracking, key)
        yield f"tracking.{key}", repr(value), bool(value.strip()), "a name"
    yield from _size_checks(config.sizes.custom)
    yield from _timing_checks(config.timing)
    yield from _model_checks(config.model)


def _size_checks(custom: Any) -> Iterator[Check]:
    if custom is not None:
        yield (
            "sizes.custom",
            custom,
            isinstance(custom, list) and all(map(_is_size, custom)),
            "a list of sizes, each a list of whole numbers (int), as in [[1823,781]]",
        )
        extents = [tuple(item) for item in custom]
        yield "sizes.custom", custom, bool(extents), "one size or more, as in [[1823,781]]"
        yield "sizes.custom", custom, len(set(extents)) == len(extents), "each size once"


def _is_size(value: Any) -> bool:
    # True is a whole number to Python
    return isinstance(value, list) and all(type(extent) is int for extent in value)


def _timing_checks(timing: TimingConfig) -> Iterator[Check]:
    rounds, most = timing.rounds, timing.max_rounds
    yield "timing.rounds", rounds, rounds >= LEAST_ROUNDS, f"{LEAST_ROUNDS} or more"
    yield "timing.max_rounds", most, most >= rounds, f"timing.rounds, which is {rounds}, or more"
    window_us, is_host = timing.window_us, timing.clock is Clock.HOST
    yield (
        "timing.window_us",
        window_us,
        0 < window_us <= 1e6 or (is_host and window_us == 0),  # noqa: PLR2004  # a second
        "more than 0 and at most 1e6 microseconds",
    )
    calls, factor = timing.host_calls, timing.cold_factor
    yield "timing.host_calls", calls, 1 <= calls <= 10_000, "1 to 10000"  # noqa: PLR2004
    yield "timing.cold_factor", factor, 0 <= factor <= 100, "0 to 100 times the L2"  # noqa: PLR2004
    yield "timing.margin", timing.margin, 0 < timing.margin < 1, "more than 0 and less than 1"
    apart = timing.max_clock_disagreement
    yield "timing.max_clock_disagreement", apart, 0 < apart < 1, "more than 0 and less than 1"
    fraction = timing.max_fraction_of_ceiling
    yield "timing.max_fraction_of_ceiling", fraction, 1 <= fraction < math.inf, "1 or more"


def _model_checks(model: ModelConfig) -> Iterator[Check]:
    yield "model.parallel", model.parallel, model.parallel >= 1, "1 or more"
    yield "model.max_tokens", model.max_tokens, model.max_tokens >= 1, "1 or more"
    (least_s, most_s), wait_s = TIMEOUTS_S, model.timeout_s
    yield "model.timeout_s", wait_s, least_s <= wait_s <= most_s, f"{least_s} to {most_s} seconds"
    for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
        price = getattr(model, key)
        is_price = price is None or 0 <= price < math.inf
        yield f"model.{key}", price, is_price, "0 or more dollars, or null where it is not known"
