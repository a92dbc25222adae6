"""Which provider answers, and with what settings.

A provider is a module <name>_provider.py in this folder with a function make(settings) -> Provider;
nothing else lists it. Not covered: what Hydra accepts, which is config.py's.
"""

import dataclasses
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.protocols import Provider

_SUFFIX = "_provider"


@dataclass(frozen=True, kw_only=True)
class ProviderSettings:
    """Everything that a provider may need; each reads what concerns it."""

    name: str  # what the user chose: sonnet
    provider: str  # the module that answers: anthropic
    operation: str
    recorded_dir: Path  # kernels/<operation>/recorded
    id: str | None = None  # the model that the API is asked for
    effort: str | None = None
    max_tokens: int = 32_000  # thinking and answer together
    timeout_s: float = 600.0  # the longest silence of the API, not the length of an answer
    parallel: int = 4  # how many answers are asked for at once
    base_url: str | None = None
    api_key_env: str = "ANTHROPIC_API_KEY"
    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    path: str | None = None  # the kernel file
    sample: int = 1  # the first recorded sample to play, from 1


# keys that say whose kernel is judged, and which model takes them
_TAKEN_BY = {
    "path": "model=file takes it",
    "sample": "model=recorded takes it",
    "id": "a model of an API takes it, such as model=sonnet",
    "effort": "a model of an API takes it, such as model=sonnet",
}


def refuse_unread(settings: ProviderSettings, *read: str) -> None:
    """Raise ConfigError for a key that was given and is not among those that a provider reads.

    Only for what says whose kernel is judged: who gives it takes the result for that kernel's.
    """
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name)
        if item.name in _TAKEN_BY and item.name not in read and value != item.default:
            raise ConfigError(
                f"model.{item.name}={value} is of no use with model={settings.name}:"
                f" {_TAKEN_BY[item.name]}. Leave it out, or choose that model."
            )


def provider_names() -> tuple[str, ...]:
    """List the providers: this folder's modules."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return tuple(
        sorted(
            module.name.removesuffix(_SUFFIX) for module in modules if module.name.endswith(_SUFFIX)
        )
    )


def make_provider(settings: ProviderSettings) -> Provider:
    """Make the provider that the settings name; raises ConfigError for an unknown name."""
    if settings.provider not in provider_names():
        raise ConfigError(
            f"there is no provider {settings.provider!r}; there are {', '.join(provider_names())}."
            f" Correct model.provider, or add tritonexp/generation/{settings.provider}{_SUFFIX}.py."
        )
    module = importlib.import_module(f"tritonexp.generation.{settings.provider}{_SUFFIX}")
    provider: Provider = module.make(settings)
    return provider
