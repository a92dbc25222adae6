"""What the rooms ask of each other, so that strategies know neither a provider nor the referee."""

from collections.abc import Callable
from typing import Protocol

from tritonexp.records import Completion, Evaluation, Implementation, MachineFacts, Mode, Prompt


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


# the candidate that is going to be evaluated next, or None while that is not known; never waits
Upcoming = Callable[[], Implementation | None]


class Evaluator(Protocol):
    """What a strategy asks about its candidates."""

    def evaluate(self, candidate: Implementation, upcoming: Upcoming | None = None) -> Evaluation:
        """Verify and, where possible, time a candidate beside its references.

        `upcoming` is called at most once, from this thread and before timing begins; None where it
        is known that nothing follows.
        """

    def recorded(self, source: str) -> Evaluation | None:
        """What a GPU found earlier of a source, at just the sizes and by the protocol asked for.

        None where that is not recorded, and where candidates are timed now. It may stand for an
        attempt where one is chosen, and nowhere else.
        """


class Judge(Protocol):
    """What a study asks of an opened referee."""

    def evaluate(self, candidate: Implementation, upcoming: Upcoming | None = None) -> Evaluation:
        """Do what an Evaluator does."""

    @property
    def mode(self) -> Mode:
        """Where kernels are run."""

    def facts(self) -> MachineFacts:
        """Tell what a prompt may say of this machine."""

    def check_fits(self) -> None:
        """Raise DoesNotFitError for a size that the GPU's free memory cannot hold."""
