"""A provider in front of another: all that a subclass does not do itself is the other's."""

from tritonexp.protocols import Provider
from tritonexp.records import Completion, MachineFacts, Prompt


class Wrapped:
    """Does what the provider behind it does."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @property
    def name(self) -> str:
        """The provider's."""
        return self._provider.name

    @property
    def takes_prompt(self) -> bool:
        """The provider's."""
        return self._provider.takes_prompt

    @property
    def parallel(self) -> int:
        """The provider's."""
        return self._provider.parallel

    def check(self) -> None:
        """Check the provider."""
        self._provider.check()

    def facts(self, prompt: str) -> MachineFacts | None:
        """The provider's."""
        return self._provider.facts(prompt)

    def complete(self, prompt: Prompt) -> Completion:
        """Have the provider answer."""
        return self._provider.complete(prompt)
