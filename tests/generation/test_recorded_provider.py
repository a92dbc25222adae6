"""Recordings: written once, read word for word, and played only to their own prompt."""

import dataclasses
from pathlib import Path

import pytest

from tritonexp.errors import ConfigError, RecordingError
from tritonexp.generation.recorded_provider import (
    RecordedProvider,
    recording_path,
    samples,
    write_recording,
)
from tritonexp.generation.settings import ProviderSettings
from tritonexp.records import Prompt

MODEL = "Claude (exact version not recorded)"


def record(folder: Path, prompt: Prompt, response: str = "answer", sample: int = 1) -> Path:
    """Write one recording."""
    path = recording_path(folder, prompt.name, sample)
    write_recording(path, prompt, response, "2026-11-22", MODEL, sample)
    return path


def player(folder: Path, sample: int = 1) -> RecordedProvider:
    """Make a provider that plays from a folder."""
    return RecordedProvider(
        ProviderSettings(
            name="recorded",
            provider="recorded",
            operation="softmax",
            recorded_dir=folder,
            sample=sample,
        )
    )


@pytest.mark.parametrize(
    "response",
    [
        "plain",
        "ends in a newline\n",
        "ends in three\n\n\n",
        "\n\nbegins with blank lines",
        "windows\r\nline\r\nends\r\n",
        "an old mac's\rline end",
        "---\nlooks: like front matter\n---\n\nbut is the response",
        "",
        "\ufeffbyte order mark, π, 𝛑, \u2028 and \x00",
        "trailing spaces   \n\t\n",
    ],
)
def test_response_comes_back_byte_for_byte(tmp_path: Path, prompt: Prompt, response: str) -> None:
    """Whatever a model wrote is what is played, and what lies in the file."""
    path = record(tmp_path, prompt, response)
    assert path.read_bytes().endswith(b"---\n\n" + response.encode())
    completion = player(tmp_path).complete(prompt)
    assert completion.text == response
    assert completion.origin == "recorded"
    assert completion.model_answered == MODEL
    assert completion.recorded_on == "2026-11-22"
    assert completion.sample == 1
    assert completion.failure is None
    assert (completion.latency_s, completion.cost_usd, completion.usage) == (None, None, None)


def test_facts_of_the_recorded_machine_come_back(tmp_path: Path, prompt: Prompt) -> None:
    """The prompt can be rendered again with what it told of the machine."""
    record(tmp_path, prompt)
    assert player(tmp_path).facts(prompt.name) == prompt.facts


def test_unknown_facts_come_back_as_none(tmp_path: Path, prompt: Prompt) -> None:
    """A prompt that told of no GPU is recorded so."""
    bare = dataclasses.replace(prompt.facts, gpu_name=None, bandwidth_gb_s=None)
    record(tmp_path, dataclasses.replace(prompt, facts=bare))
    assert player(tmp_path).facts(prompt.name) == bare


def test_changed_prompt_is_refused_with_both_hashes(
    tmp_path: Path, prompt: Prompt, changed_prompt: Prompt
) -> None:
    """A response to another prompt is never passed off as one to this."""
    record(tmp_path, prompt)
    with pytest.raises(RecordingError) as raised:
        player(tmp_path).complete(changed_prompt)
    assert prompt.sha256[:12] in str(raised.value)
    assert changed_prompt.sha256[:12] in str(raised.value)
    assert "undo the change" in str(raised.value)


def test_each_completion_plays_the_next_sample(tmp_path: Path, prompt: Prompt) -> None:
    """Asking three times from sample 2 gives 2, 3 and, over a gap, 5."""
    for sample in (1, 2, 3, 5):
        record(tmp_path, prompt, f"answer {sample}", sample)
    provider = player(tmp_path, sample=2)
    assert [provider.complete(prompt).text for _ in range(3)] == [
        "answer 2",
        "answer 3",
        "answer 5",
    ]


def test_end_of_the_samples_lists_what_there_is(tmp_path: Path, prompt: Prompt) -> None:
    """A strategy that asks for more than was recorded is told how many there are."""
    record(tmp_path, prompt, sample=1)
    record(tmp_path, prompt, sample=2)
    provider = player(tmp_path, sample=2)
    provider.complete(prompt)
    with pytest.raises(RecordingError, match=r"no recorded sample 3; there are 1, 2\."):
        provider.complete(prompt)


@pytest.mark.parametrize("sample", [0, -1, 7])
def test_unknown_sample_lists_what_there_is(tmp_path: Path, prompt: Prompt, sample: int) -> None:
    """A sample that was never recorded is refused where the prompt's facts are asked for."""
    record(tmp_path, prompt)
    with pytest.raises(RecordingError, match=f"no recorded sample {sample}; there are 1"):
        player(tmp_path, sample).facts(prompt.name)


def test_prompt_without_recordings_lists_those_with(tmp_path: Path, prompt: Prompt) -> None:
    """The way out is in the message."""
    record(tmp_path, prompt)
    with pytest.raises(RecordingError, match="softmax/with_hints") as raised:
        player(tmp_path).facts("with_hints")
    assert "with recordings are hardware_aware" in str(raised.value)


@pytest.mark.parametrize("exists", [True, False])
def test_operation_without_recordings_fails_the_check(tmp_path: Path, exists: bool) -> None:
    """An empty or absent folder ends before anything is measured."""
    folder = tmp_path / "recorded"
    if exists:
        (folder / "baseline_only").mkdir(parents=True)
    with pytest.raises(RecordingError, match=r"none exist\. Choose another model, or"):
        player(folder).check()


def test_samples_lists_numbered_files_only(tmp_path: Path, prompt: Prompt) -> None:
    """Notes beside the recordings are no samples, and ten comes after nine."""
    for sample in (10, 9, 1):
        record(tmp_path, prompt, sample=sample)
    (tmp_path / prompt.name / "README.md").write_text("notes")
    (tmp_path / prompt.name / "7.md").write_text("not a two-digit name")
    assert samples(tmp_path, prompt.name) == (1, 9, 10)
    assert samples(tmp_path, "absent") == ()


def test_recording_is_never_written_over(tmp_path: Path, prompt: Prompt) -> None:
    """Evidence stays as it was."""
    path = record(tmp_path, prompt, "first")
    before = path.read_bytes()
    with pytest.raises(RecordingError, match="exists"):
        record(tmp_path, prompt, "second")
    assert path.read_bytes() == before


def test_path_that_does_not_fit_the_sample_is_refused(tmp_path: Path, prompt: Prompt) -> None:
    """A recording that could not be found again is not written."""
    with pytest.raises(RecordingError, match=r"hardware_aware/02\.md"):
        write_recording(
            tmp_path / prompt.name / "01.md", prompt, "answer", "2026-11-22", MODEL, sample=2
        )
    assert not list(tmp_path.rglob("*.md"))


def test_date_that_is_not_iso_is_refused(tmp_path: Path, prompt: Prompt) -> None:
    """A date is checked when it is written, not when somebody needs it."""
    path = recording_path(tmp_path, prompt.name, 1)
    with pytest.raises(RecordingError, match=r"22\.11\.2026"):
        write_recording(path, prompt, "answer", "22.11.2026", MODEL, 1)


def test_front_matter_written_by_hand_is_read(tmp_path: Path, prompt: Prompt) -> None:
    """YAML's own date without quotes is as good as a quoted one."""
    path = record(tmp_path, prompt)
    text = path.read_text()
    assert "'2026-11-22'" in text
    path.write_text(text.replace("'2026-11-22'", "2026-11-22"))
    assert player(tmp_path).complete(prompt).recorded_on == "2026-11-22"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"---\n", b"", "is no recording"),
        (b"---\n\nanswer", b"---\nanswer", "is no recording"),
        (b"prompt_sha256: ", b"prompt: ", "prompt_sha256"),
        (b"sm_count: 132", b"sm_count: many", "sm_count"),
        (b"model: ", b"model: [", "cannot be read"),
        (b"sample: 1", b"sample: 2", "says that it is sample 2"),
        (b"answer", b"\xff", "cannot be read"),
        (b"prompt_sha256", b"\xff", "cannot be read"),
    ],
)
def test_damaged_recording_is_refused_by_name(
    tmp_path: Path, prompt: Prompt, old: bytes, new: bytes, told: str
) -> None:
    """What cannot be read as a recording is told with the file and the fault."""
    path = record(tmp_path, prompt)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    with pytest.raises(RecordingError, match=told) as raised:
        player(tmp_path).facts(prompt.name)
    assert str(path) in str(raised.value)


def test_kernel_file_beside_a_recording_is_refused(tmp_path: Path, prompt: Prompt) -> None:
    """Without model=file the recorded answer is judged, and not the file that was named."""
    record(tmp_path, prompt)
    settings = dataclasses.replace(player(tmp_path)._settings, path="mine.py")
    with pytest.raises(ConfigError, match=r"model\.path=mine\.py .*model=file takes it"):
        RecordedProvider(settings).check()


def test_fault_of_the_front_matter_is_told_in_words(tmp_path: Path, prompt: Prompt) -> None:
    """What the checking library says to programs is left out."""
    path = record(tmp_path, prompt)
    path.write_bytes(path.read_bytes().replace(b"prompt_sha256: ", b"prompt: ", 1))
    with pytest.raises(RecordingError) as raised:
        player(tmp_path).facts(prompt.name)
    assert "(type=" not in str(raised.value)
    assert "[type=" not in str(raised.value)
    assert "prompt_sha256: field required" in str(raised.value)
