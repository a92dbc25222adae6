"""A provider that says what it is told to, and a judge that measures what it is told to."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import builders as build

from tritonexp.protocols import Upcoming
from tritonexp.records import (
    Clock,
    Comparison,
    Completion,
    Evaluation,
    Implementation,
    MachineFacts,
    Outcome,
    Prompt,
    Status,
)


def answer(kernel: str) -> Completion:
    """Make an answer whose kernel can be told from others by its comment."""
    return build.completion(f"```python\ndef softmax(x):\n    return x  # {kernel}\n```\n")


@dataclass
class ScriptedProvider:
    """Gives its completions in turn, and raises an exception that stands among them."""

    script: list[Completion | Exception]
    name: str = "scripted"
    takes_prompt: bool = True
    parallel: int = 1
    prompts: list[Prompt] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Pass."""

    def facts(self, prompt: str) -> MachineFacts | None:
        """Leave the facts to the machine."""

    def complete(self, prompt: Prompt) -> Completion:
        """Give the next completion."""
        # it may be asked by several threads
        with self.lock:
            self.prompts.append(prompt)
            item = self.script[len(self.prompts) - 1]
        if isinstance(item, Exception):
            raise item
        return item


@dataclass
class ScriptedJudge:
    """Judges a candidate by a word that its source holds: (status, speed-up over the baseline)."""

    verdicts: Mapping[str, tuple[Status, float | None]]
    candidates: list[Implementation] = field(default_factory=list)
    # what was said of the next one, for each that was judged
    following: list[Implementation | None] = field(default_factory=list)
    # what a GPU found earlier, by a word of the source as well
    records: Mapping[str, tuple[Status, float | None]] = field(default_factory=dict)

    def evaluate(self, candidate: Implementation, upcoming: Upcoming | None = None) -> Evaluation:
        """Give the verdict of the word."""
        self.candidates.append(candidate)
        self.following.append(None if upcoming is None else upcoming())
        status, speedup = next(v for word, v in self.verdicts.items() if word in candidate.source)
        return evaluation(candidate, status, speedup)

    def recorded(self, source: str) -> Evaluation | None:
        """Give what is recorded of the word."""
        found = next((told for word, told in self.records.items() if word in source), None)
        return None if found is None else evaluation(build.implementation("candidate"), *found)


def evaluation(candidate: Implementation, status: Status, speedup: float | None) -> Evaluation:
    """Make an evaluation whose only figure is the speed-up over the baseline."""
    reason = "" if status is Status.CORRECT else f"why it is {status}"
    comparison = Comparison(
        subject="candidate",
        reference="baseline",
        clock=Clock.GRAPH,
        size=None,
        speedup=speedup,
        interval=None,
        outcome=Outcome.FAILED if speedup is None else Outcome.FASTER,
        reason="",
    )
    return build.evaluation(
        build.trial(candidate, status=status, reason=reason, timed=False),
        [build.trial("baseline", timed=False)],
        comparisons=(comparison,),
    )
