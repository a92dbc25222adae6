"""Providers are found by listing their modules."""

from pathlib import Path

import pytest

from tritonexp.errors import ConfigError
from tritonexp.generation import ProviderSettings, make_provider, provider_names


def settings(provider: str) -> ProviderSettings:
    """Give the least that a provider needs."""
    return ProviderSettings(
        name="chosen", provider=provider, operation="softmax", recorded_dir=Path("unused")
    )


def test_names_are_those_of_the_modules() -> None:
    """The ways to an answer that are shipped are found; other modules are none."""
    assert {"anthropic", "file", "recorded"} <= set(provider_names())
    assert "settings" not in provider_names()


@pytest.mark.parametrize("name", provider_names())
def test_every_provider_can_be_made_and_keeps_its_name(name: str) -> None:
    """Each module makes a provider that is called what the user chose."""
    assert make_provider(settings(name)).name == "chosen"


@pytest.mark.parametrize("name", ["openai", "", "settings", "../file"])
def test_unknown_provider_lists_the_choices(name: str) -> None:
    """A name that is no provider is refused, with those that are."""
    with pytest.raises(ConfigError, match=f"there are {', '.join(provider_names())}"):
        make_provider(settings(name))
