"""The jobs of a sweep as neighbours: what one leaves to the next, and does for later ones.

A referee stays open for the jobs that need the same one. While it judges, the models of later jobs
are asked, so that about `model.parallel` answers of a model are paid for and not judged yet. A
study without a sweep is a sweep of one job.

Not covered: jobs that another process runs, each of which is alone; and what fails while looking
ahead, which the job itself meets again at its own turn.
"""

from __future__ import annotations

import atexit
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from tritonexp import strategies
from tritonexp.errors import EvaluationError

if TYPE_CHECKING:
    from types import TracebackType

    from tritonexp.answers import Keeping
    from tritonexp.config import StudyConfig
    from tritonexp.generation.asking import AskedAhead
    from tritonexp.operations import Operation
    from tritonexp.protocols import Judge, Upcoming
    from tritonexp.recorded import Shown
    from tritonexp.records import Evaluation, Implementation, MachineFacts, OperationBrief, Prompt

Say = Callable[[str], None]

# how many jobs ahead are looked at: to compose one takes some 60 ms
HORIZON = 16
# all else of a configuration is what a referee is opened with
_NO_NEEDS = frozenset({"model", "prompt", "strategy", "tracking"})


@dataclass(frozen=True)
class Bench:
    """An opened referee, and the operation that it judges."""

    referee: Judge
    operation: Operation
    # what was recorded earlier of a source, and answers what its referee was opened for
    recorded: Callable[[str], Shown | None]

    @cached_property
    def facts(self) -> MachineFacts:
        """What a prompt may say of this machine; asking for it may take the GPU."""
        return self.referee.facts()


@dataclass(frozen=True)
class Question:
    """What the model of a job is asked, and the provider that was asked it."""

    provider: AskedAhead
    prompt: Prompt
    brief: OperationBrief
    count: int  # how many answers are asked for
    answers: Keeping  # what was paid for of them

    def first_candidate(self) -> Implementation | None:
        """What will be evaluated first, if the answers that have come tell."""
        found = (
            strategies.candidate_in(completion, self.prompt, self.brief)
            for completion in self.provider.come()
        )
        return next((candidate for candidate in found if candidate is not None), None)

    def close(self) -> None:
        """Ask for no answer that has not been begun."""
        self.provider.close()


Ask = Callable[["StudyConfig"], Question]


@dataclass
class _Job:
    config: StudyConfig
    question: Question | None = None
    is_tried: bool = False


class Sweep:
    """The jobs that are still to come, and the referee that is open."""

    def __init__(self, coming: Iterable[StudyConfig] = ()) -> None:
        """`coming` holds the jobs in their order; it is read as far as is looked ahead."""
        self._rest = iter(coming)
        self._coming: list[_Job] = []
        self._bench: Bench | None = None
        self._needs: Mapping[str, Any] = {}
        self._hold = ExitStack()
        self._progress: Say | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the referee, and ask for nothing more."""
        for job in self._coming:
            if job.question is not None:
                job.question.close()
        self._coming, self._rest = [], iter(())
        self._close_bench()

    def take(self, config: StudyConfig) -> Question | None:
        """Begin a job: it comes no more, and this is what was asked for it ahead."""
        found = next((job for job in self._near() if job.config == config), None)
        self._coming = [job for job in self._coming if job is not found]
        return None if found is None else found.question

    @contextmanager
    def bench(
        self,
        config: StudyConfig,
        open_bench: Callable[[Say], AbstractContextManager[Bench]],
        progress: Say,
    ) -> Iterator[Bench]:
        """Open what a job needs, unless it is open; it stays open for the next one.

        Where the job fails it does not, as it may have been left in the middle of something.
        """
        self._progress = progress
        try:
            if self._bench is None or self._needs != _needs(config):
                self._close_bench()
                self._bench = self._hold.enter_context(open_bench(self._say))
                self._needs = _needs(config)
                # later than the referee registered its own, and so before them
                atexit.register(self._close_bench)
            yield self._bench
        except BaseException:
            self._close_bench()
            raise
        finally:
            self._progress = None

    def look_ahead(self, ask: Ask, busy: Mapping[str, int]) -> None:
        """Ask the questions of later jobs.

        `busy` is how many answers of a model are under way, or wait to be judged, in this job.
        """
        unjudged = Counter(busy)
        for job in self._near():
            if job.question is not None:
                unjudged[job.config.model.name] += job.question.count
        for job in self._near():
            model = job.config.model
            if job.is_tried or unjudged[model.name] >= model.parallel:
                continue
            job.is_tried = True
            try:
                job.question = ask(job.config)
            except EvaluationError:
                # the GPU's facts cannot be had, which may have taken long to find out
                return
            except Exception:  # noqa: BLE001, S112  # the job meets it again and tells of it
                continue
            unjudged[model.name] += job.question.count

    def upcoming(self) -> Upcoming | None:
        """What is evaluated after this job; None where nothing is by the same referee."""
        following = next(self._near(), None)
        if following is None or _needs(following.config) != self._needs:
            return None

        def first_candidate() -> Implementation | None:
            question = following.question
            return None if question is None else question.first_candidate()

        return first_candidate

    def _near(self) -> Iterator[_Job]:
        """The coming jobs that can be seen from here."""
        for place in range(HORIZON):
            if place == len(self._coming):
                config = next(self._rest, None)
                if config is None:
                    return
                self._coming.append(_Job(config))
            yield self._coming[place]

    def _close_bench(self) -> None:
        self._bench = None
        atexit.unregister(self._close_bench)
        self._hold.close()

    def _say(self, text: str) -> None:
        # the referee is given this when it is opened, and says it to the job that it works for
        if self._progress is not None:
            self._progress(text)


class Turn:
    """A job whose question is asked, as the evaluator that its strategy is given."""

    def __init__(
        self, sweep: Sweep, config: StudyConfig, question: Question, bench: Bench, ask: Ask
    ) -> None:
        """`ask` asks the question of another job, and raises what speaks against it."""
        self._sweep = sweep
        self._model = config.model.name
        self._left = question.count  # answers that may still have to be judged
        self._bench = bench
        self._ask = ask
        self._look_ahead()

    def evaluate(self, candidate: Implementation, upcoming: Upcoming | None = None) -> Evaluation:
        """Have the referee evaluate a candidate; the last of a job is followed by a later job's."""
        self._left = 0 if upcoming is None else self._left - 1
        self._look_ahead()
        return self._bench.referee.evaluate(candidate, upcoming or self._sweep.upcoming())

    def recorded(self, source: str) -> Evaluation | None:
        """What a GPU found earlier of a source, where it is of all that this job asks for."""
        shown = self._bench.recorded(source)
        return shown.evaluation if shown is not None and shown.is_whole else None

    def _look_ahead(self) -> None:
        self._sweep.look_ahead(self._ask, {self._model: self._left})


def _needs(config: StudyConfig) -> dict[str, Any]:
    """What a referee is opened with."""
    names = (field.name for field in dataclasses.fields(config))
    return {name: getattr(config, name) for name in names if name not in _NO_NEEDS}
