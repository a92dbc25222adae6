"""Strategies: what is asked, what is judged, and which attempt is chosen."""

import dataclasses
import threading
import time
from pathlib import Path

import builders as build
import pytest

from tests.strategies.scripted import ScriptedJudge, ScriptedProvider, answer
from tritonexp import strategies
from tritonexp.errors import ConfigError, GenerationError, RecordingError
from tritonexp.generation import ProviderSettings, make_provider
from tritonexp.generation.asking import AskedAhead
from tritonexp.generation.recorded_provider import recording_path, write_recording
from tritonexp.protocols import Upcoming
from tritonexp.records import (
    Attempt,
    Completion,
    Evaluation,
    Implementation,
    Mode,
    Prompt,
    Role,
    Status,
)

CORRECT = {"": (Status.CORRECT, 2.0)}


def run(
    strategy: str, provider: object, judge: object, **n: int
) -> tuple[tuple[Attempt, ...], int]:
    """Run a strategy, silently."""
    return strategies.run(strategy, build.PROMPT, provider, judge, build.BRIEF, lambda _: None, **n)


def test_strategies_are_the_modules() -> None:
    """Those that are shipped are found; the shared step is no strategy."""
    assert {"best_of_n", "single_shot"} <= set(strategies.strategy_names())
    assert "_attempt" not in strategies.strategy_names()


@pytest.mark.parametrize("name", ["greedy", "", "_attempt"])
def test_unknown_strategy_lists_the_choices(name: str) -> None:
    """A name that is no strategy is refused before the provider is asked."""
    provider = ScriptedProvider([answer("a")])
    with pytest.raises(ConfigError, match=f"there are {', '.join(strategies.strategy_names())}"):
        run(name, provider, ScriptedJudge(CORRECT))
    assert provider.prompts == []


def test_single_shot_judges_the_code_of_the_one_answer() -> None:
    """The candidate is the extracted code, with the model that answered as its provenance."""
    provider = ScriptedProvider([answer("a")])
    judge = ScriptedJudge(CORRECT)
    (attempt,), chosen = run("single_shot", provider, judge)
    (candidate,) = judge.candidates
    source = "def softmax(x):\n    return x  # a\n"
    assert chosen == 0
    assert provider.prompts == [build.PROMPT]
    assert (candidate.name, candidate.role) == ("candidate", Role.CANDIDATE)
    assert (candidate.source, candidate.entry_point) == (source, "softmax")
    assert (candidate.provenance.origin, candidate.provenance.name) == (
        "generated",
        "claude-sonnet-5-5",
    )
    assert (attempt.number, attempt.status, attempt.source) == (1, Status.CORRECT, source)
    assert attempt.evaluation is not None
    assert attempt.evaluation.candidate.implementation == candidate


def test_answers_are_asked_for_together_and_kept_in_order() -> None:
    """As many at once as the provider allows; who answers first is not thereby the first."""
    together = threading.Barrier(3, timeout=20)

    class Slow(ScriptedProvider):
        def complete(self, prompt: Prompt) -> Completion:
            completion = super().complete(prompt)
            # nobody answers before three have been asked
            together.wait()
            return completion

    provider = Slow([answer(kernel) for kernel in "abc"], parallel=3)
    ahead = AskedAhead(provider, build.PROMPT, strategies.asks("best_of_n", 3))
    attempts, _ = run("best_of_n", ahead, ScriptedJudge(CORRECT), n=3)
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    sources = [attempt.source or "" for attempt in attempts]
    assert sorted(source[-2] for source in sources) == ["a", "b", "c"]


def test_a_refusal_among_answers_that_are_asked_for_together_ends_the_job() -> None:
    """Nothing is judged, and those that were not asked yet are not asked."""
    script = [GenerationError("the key was refused"), *(answer("a") for _ in range(49))]

    class Slow(ScriptedProvider):
        def complete(self, prompt: Prompt) -> Completion:
            if self.prompts:
                time.sleep(0.05)
            return super().complete(prompt)

    provider, judge = Slow(script, parallel=2), ScriptedJudge(CORRECT)
    ahead = AskedAhead(provider, build.PROMPT, strategies.asks("best_of_n", 50))
    with pytest.raises(GenerationError, match="refused"):
        run("best_of_n", ahead, judge, n=50)
    assert judge.candidates == []
    assert len(provider.prompts) < 50


def test_answering_model_is_named_where_it_is_known() -> None:
    """The model that answered stands before the one that was asked."""
    told = build.completion(
        "```python\ndef softmax(x): ...\n```", model_answered="claude-sonnet-5-5-x"
    )
    judge = ScriptedJudge(CORRECT)
    run("single_shot", ScriptedProvider([told]), judge)
    assert judge.candidates[0].provenance.name == "claude-sonnet-5-5-x"


def test_wrong_kernel_is_an_attempt_with_its_reason() -> None:
    """What the judge found is what the attempt says."""
    judge = ScriptedJudge({"": (Status.INCORRECT, None)})
    (attempt,), _ = run("single_shot", ScriptedProvider([answer("a")]), judge)
    assert (attempt.status, attempt.reason) == (Status.INCORRECT, "why it is INCORRECT")


@pytest.mark.parametrize("failure", [Status.REFUSED, Status.TRUNCATED, Status.API_ERROR])
def test_failed_completion_is_an_attempt_that_is_not_judged(failure: Status) -> None:
    """Even code in a cut answer is not taken for the model's kernel."""
    failed = build.completion(answer("a").text, failure=failure, reason="because")
    judge = ScriptedJudge(CORRECT)
    (attempt,), _ = run("single_shot", ScriptedProvider([failed]), judge)
    assert (attempt.status, attempt.reason) == (failure, "because")
    assert (attempt.source, attempt.evaluation) == (None, None)
    assert judge.candidates == []


def test_answer_without_code_is_an_attempt_that_is_not_judged() -> None:
    """NO_CODE names the function that was looked for."""
    judge = ScriptedJudge(CORRECT)
    provider = ScriptedProvider([build.completion("I would rather not.")])
    (attempt,), _ = run("single_shot", provider, judge)
    assert attempt.status is Status.NO_CODE
    assert "softmax" in attempt.reason
    assert (attempt.source, attempt.evaluation) == (None, None)
    assert judge.candidates == []


def test_text_of_a_file_is_judged_whole() -> None:
    """A fence in a kernel file's docstring does not make the docstring the candidate."""
    text = '"""Use:\n```python\ndef softmax(x): ...\n```\n"""\n\ndef softmax(x):\n    return x\n'
    judge = ScriptedJudge(CORRECT)
    provider = ScriptedProvider([build.completion(text, origin="file")])
    run("single_shot", provider, judge)
    assert judge.candidates[0].source == text
    assert judge.candidates[0].provenance.origin == "file"


def test_single_shot_refuses_an_n_that_it_would_ignore() -> None:
    """strategy.n=5 with single_shot is a mistake that is told."""
    provider = ScriptedProvider([answer("a")])
    with pytest.raises(ConfigError, match=r"strategy=best_of_n strategy\.n=5"):
        run("single_shot", provider, ScriptedJudge(CORRECT), n=5)
    assert provider.prompts == []


@pytest.mark.parametrize("n", [None, 0, -1])
def test_best_of_n_refuses_an_n_below_one(n: int | None) -> None:
    """No answers are no study."""
    with pytest.raises(ConfigError, match=r"set strategy\.n"):
        run("best_of_n", ScriptedProvider([]), ScriptedJudge(CORRECT), n=n)


@pytest.mark.parametrize(("strategy", "n"), [("single_shot", 1), ("best_of_n", 4)])
def test_a_strategy_tells_how_often_it_asks(strategy: str, n: int) -> None:
    """What it tells is what it does, so nothing is asked ahead in vain."""
    provider = ScriptedProvider([answer("a")] * n)
    run(strategy, provider, ScriptedJudge(CORRECT), n=n)
    assert strategies.asks(strategy, n) == len(provider.prompts) == n


@pytest.mark.parametrize(("strategy", "n"), [("single_shot", 2), ("best_of_n", 0), ("greedy", 1)])
def test_a_wrong_n_is_refused_without_a_provider(strategy: str, n: int) -> None:
    """Whoever asks ahead learns of it before a model is asked."""
    with pytest.raises(ConfigError):
        strategies.asks(strategy, n)


def test_the_judge_is_told_what_it_judges_next() -> None:
    """Answers without code are passed over, and after the last one nothing follows."""
    judge = ScriptedJudge(CORRECT)
    texts = [answer("a"), build.completion("I would rather not."), answer("b"), answer("c")]
    run("best_of_n", ScriptedProvider(texts), judge, n=4)
    assert len(judge.candidates) == 3
    assert judge.following == [*judge.candidates[1:], None]


def test_best_of_n_chooses_the_fastest_correct_and_keeps_all() -> None:
    """A faster kernel that was found out does not count, a slower correct one does not win."""
    words = ["slow", "fast", "cheat", "wrong"]
    judge = ScriptedJudge(
        {
            "slow": (Status.CORRECT, 1.5),
            "fast": (Status.CORRECT, 3.0),
            "cheat": (Status.STALE_RESULT, 50.0),
            "wrong": (Status.INCORRECT, None),
        }
    )
    provider = ScriptedProvider([answer(word) for word in words])
    attempts, chosen = run("best_of_n", provider, judge, n=4)
    assert chosen == 1
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4]
    assert [attempt.status for attempt in attempts] == [
        Status.CORRECT,
        Status.CORRECT,
        Status.STALE_RESULT,
        Status.INCORRECT,
    ]
    assert provider.prompts == [build.PROMPT] * 4


def test_best_of_n_prefers_correct_without_a_time_to_wrong() -> None:
    """In the interpreter nothing is timed, and the first correct attempt is chosen."""
    judge = ScriptedJudge(
        {"wrong": (Status.INCORRECT, None), "": (Status.CORRECT, None)},
    )
    provider = ScriptedProvider([answer("wrong"), answer("b"), answer("c")])
    assert run("best_of_n", provider, judge, n=3)[1] == 1


def test_best_of_n_chooses_a_judged_attempt_where_none_is_correct() -> None:
    """A wrong kernel tells more than a refusal, whatever its time."""
    judge = ScriptedJudge({"b": (Status.INCORRECT, None), "c": (Status.STALE_RESULT, 9.0)})
    refused = build.completion("", failure=Status.REFUSED, reason="no")
    provider = ScriptedProvider([refused, answer("b"), answer("c")])
    assert run("best_of_n", provider, judge, n=3)[1] == 1


def test_best_of_n_has_all_answers_before_it_measures() -> None:
    """A key that is refused on the second question ends the job before anything is measured."""
    judge = ScriptedJudge(CORRECT)
    provider = ScriptedProvider([answer("a"), GenerationError("no")])
    with pytest.raises(GenerationError):
        run("best_of_n", provider, judge, n=2)
    assert judge.candidates == []


WRONG_OR_RIGHT = {"wrong": (Status.INCORRECT, None), "": (Status.CORRECT, None)}


RIGHT = (Status.CORRECT, 2.0)


@pytest.mark.parametrize(
    ("records", "chosen", "said"),
    [
        ({}, 1, ["Nothing was timed: the first correct answer stands for the run."]),
        (
            {"second": RIGHT, "third": (Status.CORRECT, 3.0), "wrong": (Status.CORRECT, 9.0)},
            2,
            ["answer 3 of 4 stands", "recorded on a GPU; of the correct ones, 4 have none."],
        ),
        (
            {"second": RIGHT, "third": RIGHT, "fourth": RIGHT},
            1,
            ["answer 2 of 4 stands for the run, the fastest by", "recorded on a GPU."],
        ),
        # what a GPU found wrong stands back
        ({"second": (Status.STALE_RESULT, 9.0)}, 2, ["the first correct answer stands"]),
    ],
)
def test_best_of_n_without_times_goes_by_what_a_gpu_found_earlier(
    records: dict[str, tuple[Status, float | None]], chosen: int, said: list[str]
) -> None:
    """A recorded evaluation stands for an attempt in the choice, and in nothing else."""
    judge = ScriptedJudge(WRONG_OR_RIGHT, records=records)
    provider = ScriptedProvider([answer(word) for word in ("wrong", "second", "third", "fourth")])
    attempts, found = run("best_of_n", provider, judge, n=4)
    assert found == chosen
    remark = strategies.remark("best_of_n", attempts, found, judge)
    assert remark is not None
    assert all(text in remark for text in said), remark
    for attempt in attempts:
        assert attempt.evaluation is not None
        assert attempt.evaluation.comparisons[0].speedup is None


def test_nothing_is_remarked_where_there_was_no_choice() -> None:
    """One answer, none that is correct, and a strategy that chooses nothing."""
    judge = ScriptedJudge(WRONG_OR_RIGHT)
    for strategy, words in (
        ("best_of_n", ["right"]),
        ("best_of_n", ["wrong", "wrong"]),
        ("single_shot", ["right"]),
    ):
        provider = ScriptedProvider([answer(word) for word in words])
        attempts, chosen = run(strategy, provider, judge, n=len(words))
        assert strategies.remark(strategy, attempts, chosen, judge) is None


def test_times_of_its_own_are_remarked_by_nobody() -> None:
    """On a GPU the fastest is the fastest, whatever was recorded."""

    class Timed(ScriptedJudge):
        def evaluate(
            self, candidate: Implementation, upcoming: Upcoming | None = None
        ) -> Evaluation:
            return dataclasses.replace(super().evaluate(candidate, upcoming), mode=Mode.GPU)

    judge = Timed(
        {"slow": (Status.CORRECT, 2.0), "quick": (Status.CORRECT, 3.0)},
        records={"slow": (Status.CORRECT, 9.0)},
    )
    provider = ScriptedProvider([answer("slow"), answer("quick")])
    attempts, chosen = run("best_of_n", provider, judge, n=2)
    assert chosen == 1
    assert strategies.remark("best_of_n", attempts, chosen, judge) is None


def test_best_of_n_plays_recorded_samples_in_turn(tmp_path: Path) -> None:
    """Each attempt is another recording, and says which file it came from."""
    for sample, word in enumerate(["one", "two"], start=1):
        path = recording_path(tmp_path, build.PROMPT.name, sample)
        write_recording(path, build.PROMPT, answer(word).text, "2026-11-22", "Claude", sample)
    settings = ProviderSettings(
        name="recorded", provider="recorded", operation="softmax", recorded_dir=tmp_path
    )
    judge = ScriptedJudge({"one": (Status.CORRECT, 1.0), "two": (Status.CORRECT, 2.0)})
    attempts, chosen = run("best_of_n", make_provider(settings), judge, n=2)
    assert chosen == 1
    assert [candidate.provenance.location for candidate in judge.candidates] == [
        "kernels/softmax/recorded/baseline_only/01.md",
        "kernels/softmax/recorded/baseline_only/02.md",
    ]
    assert attempts[1].completion.sample == 2
    with pytest.raises(RecordingError, match="there are 1, 2"):
        run("best_of_n", make_provider(settings), judge, n=3)


def test_progress_tells_each_step() -> None:
    """Who waits is told what for."""
    told: list[str] = []
    provider = ScriptedProvider([answer("a"), answer("b")])
    judge = ScriptedJudge(CORRECT)
    strategies.run("best_of_n", build.PROMPT, provider, judge, build.BRIEF, told.append, n=2)
    assert told == [
        "asking scripted, 1 of 2",
        "asking scripted, 2 of 2",
        "evaluating answer 1 of 2",
        "evaluating answer 2 of 2",
    ]
