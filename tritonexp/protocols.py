"""What the rooms ask of each other, so that strategies know neither a provider nor the referee."""

from typing import Protocol

from tritonexp.records import Completion, Evaluation, Implementation, MachineFacts, Prompt


class Provider(Protocol):
    """A source of completions."""

    @property
    def name(self) -> str:
        """The short name that the user chose: sonnet, recorded, file."""

    @property
    def takes_prompt(self) -> bool:
        """Whether an answer is one to a prompt; without it none is rendered or sent."""

    @property
    def parallel(self) -> int:
        """How many answers it may be asked for at once; 1 where their order matters."""

    def check(self) -> None:
        """Raise a GenerationError if completing is bound to fail, such as for want of a key."""

    def facts(self, prompt: str) -> MachineFacts | None:
        """The facts that a prompt of that name must be rendered with; None: this machine's."""

    def complete(self, prompt: Prompt) -> Completion:
        """Answer a prompt; a refusal, a cut or an API error is a Completion with a failure."""


class Evaluator(Protocol):
    """A judge of candidates."""

    def evaluate(self, candidate: Implementation) -> Evaluation:
        """Verify and, where possible, time a candidate beside its references."""
