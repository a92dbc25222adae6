"""Answers that are asked for before anybody waits for them."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import builders as build
import pytest

from tests.strategies.scripted import ScriptedProvider, answer
from tritonexp.errors import GenerationError
from tritonexp.generation.asking import AskedAhead
from tritonexp.records import Completion, Prompt

ROOT = Path(__file__).resolve().parents[2]
OTHER = dataclasses.replace(build.PROMPT, name="other", text="Write another kernel.")


@dataclass
class Gated(ScriptedProvider):
    """Gives the answer of a number, or raises it, once that number is let through."""

    script: list[Completion | Exception] = field(default_factory=list)
    parallel: int = 2
    gates: list[threading.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Close every gate."""
        self.gates = [threading.Event() for _ in self.script]

    def complete(self, prompt: Prompt) -> Completion:
        """Wait at the gate of this thread's number."""
        number = int(threading.current_thread().name.rpartition("-")[2])
        self.prompts.append(prompt)
        assert self.gates[number].wait(20)
        item = self.script[number]
        if isinstance(item, Exception):
            raise item
        return item


def under_way(name: str) -> int:
    """Count the questions to a model that have been begun and have no answer yet."""
    return sum(thread.name.startswith(f"{name}-") for thread in threading.enumerate())


def let(provider: Gated, number: int, name: str) -> None:
    """Let an answer through, and wait until its thread is gone."""
    before = [thread for thread in threading.enumerate() if thread.name == f"{name}-{number}"]
    provider.gates[number].set()
    for thread in before:
        thread.join(20)


def test_answers_come_in_the_order_in_which_they_were_asked() -> None:
    """The second is there first and waits for the first."""
    provider = Gated([answer("a"), answer("b")], name="in-order")
    ahead = AskedAhead(provider, build.PROMPT, 2)
    let(provider, 1, "in-order")
    assert ahead.come() == ()
    let(provider, 0, "in-order")
    assert ahead.come() == (answer("a"), answer("b"))
    assert [ahead.complete(build.PROMPT) for _ in "ab"] == [answer("a"), answer("b")]
    assert provider.prompts == [build.PROMPT] * 2


def test_all_jobs_of_a_model_share_its_limit() -> None:
    """Two jobs ask for three answers each, and two are under way at any time."""
    name = "shared"
    jobs = [Gated([answer(word)] * 3, name=name) for word in ("first", "second")]
    first, second = (AskedAhead(provider, build.PROMPT, 3) for provider in jobs)
    seen = [under_way(name)]
    # in the order in which they were asked: the second job waits until the first has begun all
    for provider, number in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]:
        assert under_way(name) <= 2
        let(jobs[provider], number, name)
        seen.append(under_way(name))
    assert seen == [2, 2, 2, 2, 2, 1, 0]
    assert first.come() == (answer("first"),) * 3
    assert second.come() == (answer("second"),) * 3


def test_another_model_is_asked_meanwhile() -> None:
    """A slow model keeps only its own questions waiting."""
    slow = Gated([answer("slow")], name="slow", parallel=1)
    ahead = AskedAhead(slow, build.PROMPT, 1)
    quick = AskedAhead(ScriptedProvider([answer("quick")], name="quick"), build.PROMPT, 1)
    assert quick.complete(build.PROMPT) == answer("quick")
    assert ahead.come() == ()
    let(slow, 0, "slow")
    assert ahead.complete(build.PROMPT) == answer("slow")


def test_what_the_provider_raises_is_raised_and_ends_the_asking() -> None:
    """The answer before it is had, and those after it are never asked for."""
    provider = ScriptedProvider([answer("a"), GenerationError("no"), answer("c"), answer("d")])
    ahead = AskedAhead(provider, build.PROMPT, 4)
    assert ahead.complete(build.PROMPT) == answer("a")
    for _ in range(2):
        with pytest.raises(GenerationError, match="no"):
            ahead.complete(build.PROMPT)
    assert len(provider.prompts) == 2
    assert ahead.come() == ()


def test_a_failure_is_not_kept_waiting_by_a_slow_answer() -> None:
    """The second raised, so the job is lost however the first ends."""
    provider = Gated([answer("a"), GenerationError("no")], name="failing")
    ahead = AskedAhead(provider, build.PROMPT, 2)
    let(provider, 1, "failing")
    with pytest.raises(GenerationError, match="no"):
        ahead.complete(build.PROMPT)
    let(provider, 0, "failing")


def test_a_failing_job_does_not_hold_up_the_next() -> None:
    """The next job of the model is asked in the place of what is asked no more."""
    failing = ScriptedProvider([GenerationError("no")] * 3)
    following = ScriptedProvider([answer("a")])
    AskedAhead(failing, build.PROMPT, 3)
    assert AskedAhead(following, build.PROMPT, 1).complete(build.PROMPT) == answer("a")
    assert len(failing.prompts) == 1


def test_another_prompt_and_one_answer_more_are_asked_directly() -> None:
    """A strategy may go on as it likes."""
    provider = ScriptedProvider([answer("a"), answer("b"), answer("c")])
    ahead = AskedAhead(provider, build.PROMPT, 1)
    assert ahead.complete(build.PROMPT) == answer("a")
    assert ahead.complete(OTHER) == answer("b")
    assert ahead.complete(build.PROMPT) == answer("c")
    assert provider.prompts == [build.PROMPT, OTHER, build.PROMPT]


def test_what_is_closed_is_not_asked_for() -> None:
    """What is under way is had, and nothing more is begun."""
    provider = Gated([answer("a"), answer("b"), answer("c")], name="closed", parallel=1)
    ahead = AskedAhead(provider, build.PROMPT, 3)
    ahead.close()
    let(provider, 0, "closed")
    assert ahead.complete(build.PROMPT) == answer("a")
    assert under_way("closed") == 0
    assert len(provider.prompts) == 1


def test_it_is_the_provider_to_whoever_asks() -> None:
    """Name, limit and facts are the provider's own."""
    provider = ScriptedProvider([], name="mine", parallel=7, takes_prompt=False)
    ahead = AskedAhead(provider, build.PROMPT, 0)
    ahead.check()
    assert (ahead.name, ahead.parallel, ahead.takes_prompt) == ("mine", 7, False)
    assert ahead.facts("baseline_only") is None


ENDLESS = """
import sys, threading
import builders as build
from tests.strategies.scripted import ScriptedProvider
from tritonexp.generation.asking import AskedAhead

begun = threading.Event()

class Endless(ScriptedProvider):
    def complete(self, prompt):
        begun.set()
        threading.Event().wait()

ahead = AskedAhead(Endless([], parallel=2), build.PROMPT, 4)
begun.wait()
print("asked", flush=True)
if sys.argv[1] == "wait":
    ahead.complete(build.PROMPT)
"""


@pytest.mark.parametrize("then", ["exit", "wait"])
def test_an_answer_that_never_comes_does_not_hold_up_the_end(then: str) -> None:
    """The process ends while its questions are under way: by itself, and by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, then],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'fixtures'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    if then == "wait":
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGINT if then == "wait" else 0), err
    assert ("KeyboardInterrupt" in err) is (then == "wait")
