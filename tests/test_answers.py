"""Answers that were paid for: on disk when they come, gone when a record holds them."""

from pathlib import Path

import builders as build
import pytest

from tests.strategies.scripted import ScriptedProvider, answer
from tritonexp import answers
from tritonexp.errors import ConfigError
from tritonexp.records import Status

TEXT = "an answer\r\nword for word, π"


def keeping(folder, *script, notes=None):
    """Keep what a scripted provider answers."""
    note = [].append if notes is None else notes.append
    provider = ScriptedProvider(list(script), name="sonnet")
    return answers.Keeping(provider, folder, "softmax", "a-sweep", note)


def test_an_answer_lies_on_disk_before_anybody_has_it(tmp_path):
    """Text and prompt are word for word, and the file says what they are of."""
    completion = keeping(tmp_path, build.completion(TEXT)).complete(build.PROMPT)
    (folder,) = answers.waiting(tmp_path)
    assert folder.parent == answers.answers_in(tmp_path)
    assert (folder / "response.md").read_bytes() == TEXT.encode()
    assert (folder / "prompt.md").read_bytes() == build.PROMPT.text.encode()
    found = answers.read(folder)
    assert (found.completion, found.prompt) == (completion, build.PROMPT)
    assert found.prompt_sha256 == build.PROMPT.sha256
    assert (found.job, found.sweep) == ("softmax/sonnet/baseline_only", "a-sweep")
    assert found.model == "claude-sonnet-5-5"


@pytest.mark.parametrize("failure", [Status.TRUNCATED, Status.REFUSED])
def test_an_answer_that_cannot_be_used_was_paid_for_too(failure, tmp_path):
    """What was cut or refused has its tokens."""
    keeping(tmp_path, build.completion("", failure=failure)).complete(build.PROMPT)
    assert len(answers.waiting(tmp_path)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "recorded"},
        {"origin": "file"},
        {"text": "", "usage": None, "failure": Status.API_ERROR},
    ],
)
def test_what_costs_nothing_is_not_kept(changes, tmp_path):
    """A recording, a file, and a request that brought nothing."""
    given = {"text": TEXT} | changes
    keeping(tmp_path, build.completion(given.pop("text"), **given)).complete(build.PROMPT)
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_record_holds_is_removed(tmp_path):
    """The same words, paid for twice, are two answers."""
    provider = keeping(tmp_path, answer("a"), answer("a"))
    first, second = (provider.complete(build.PROMPT) for _ in "ab")
    provider.release([first])
    assert len(answers.waiting(tmp_path)) == 1
    provider.release([first])
    assert len(answers.waiting(tmp_path)) == 1
    answers.dismiss(*answers.waiting(tmp_path))
    # the user may have been quicker
    provider.release([second])
    assert answers.waiting(tmp_path) == ()


def test_an_answer_is_kept_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where the process ends while it is written, nothing waits that is half of one."""

    def interrupt(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keeping(tmp_path, answer("a")).complete(build.PROMPT)
    assert answers.waiting(tmp_path) == ()


def test_a_disk_that_takes_nothing_loses_no_answer(tmp_path):
    """It is told of, and the answer is judged all the same."""
    (tmp_path / "answers").write_text("a file")
    notes = []
    provider = keeping(tmp_path, answer("a"), notes=notes)
    assert provider.complete(build.PROMPT) == answer("a")
    (note,) = notes
    assert "cannot be kept in" in note
    provider.release([answer("a")])


def test_it_is_the_provider_to_whoever_asks(tmp_path):
    """Name, limit and facts are the provider's own."""
    made = ScriptedProvider([], name="mine", parallel=7, takes_prompt=False)
    provider = answers.Keeping(made, tmp_path, "softmax", None, print)
    provider.check()
    assert (provider.name, provider.parallel, provider.takes_prompt) == ("mine", 7, False)
    assert provider.facts("baseline_only") is None


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_what_is_no_answer_is_refused_by_its_name(text, tmp_path):
    """The message is in words, whatever the checking library says."""
    if text is not None:
        (tmp_path / answers.ANSWER_FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"answer\.json") as raised:
        answers.read(tmp_path)
    assert "[type=" not in str(raised.value)
