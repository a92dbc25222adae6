"""A kernel file in a model's place."""

import dataclasses
from pathlib import Path

import pytest

from tritonexp.errors import ConfigError
from tritonexp.generation.file_provider import MAX_BYTES, FileProvider
from tritonexp.generation.settings import ProviderSettings
from tritonexp.records import Prompt


def provider(path: Path | str | None) -> FileProvider:
    """Make the provider of one file."""
    return FileProvider(
        ProviderSettings(
            name="file",
            provider="file",
            operation="softmax",
            recorded_dir=Path("unused"),
            path=None if path is None else str(path),
        )
    )


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_of_the_file_is_the_answer(tmp_path: Path, prompt: Prompt, newline: str) -> None:
    """The text is whole and as it lies on the disk; nothing that was not measured is filled in."""
    text = f"# π{newline}def softmax(x):{newline}    return x{newline}"
    path = tmp_path / "my_kernel.py"
    path.write_bytes(text.encode())
    provider(path).check()
    completion = provider(path).complete(prompt)
    assert completion.text == text
    assert completion.origin == "file"
    assert completion.model_asked == "my_kernel.py"
    assert completion.failure is None
    assert (completion.latency_s, completion.cost_usd, completion.usage) == (None, None, None)
    assert provider(path).facts(prompt.name) is None
    assert not provider(path).takes_prompt


def test_byte_order_mark_is_no_part_of_the_source(tmp_path: Path, prompt: Prompt) -> None:
    """A file from an editor that marks UTF-8 compiles."""
    path = tmp_path / "my_kernel.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert provider(path).complete(prompt).text == "x = 1\n"


def test_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed."""
    path = tmp_path / "my_kernel.py"
    path.write_bytes(b"#" * MAX_BYTES)
    provider(path).check()


def test_missing_path_option_is_told_with_an_example() -> None:
    """model=file alone says what is missing."""
    with pytest.raises(ConfigError, match=r"model=file model\.path=my_kernel\.py"):
        provider(None).check()


def test_file_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    """A wrong path is told before anything is measured."""
    with pytest.raises(ConfigError, match=r"absent\.py cannot be read \(No such file"):
        provider(tmp_path / "absent.py").check()


def test_directory_is_told_as_one(tmp_path: Path) -> None:
    """A folder is no kernel file."""
    with pytest.raises(ConfigError, match="is a directory"):
        provider(tmp_path).check()


def test_device_is_not_read() -> None:
    """A file without an end is refused by its kind."""
    with pytest.raises(ConfigError, match="no regular file"):
        provider("/dev/zero").check()


def test_file_that_is_too_big_is_told_with_the_limit(tmp_path: Path) -> None:
    """One byte beyond the limit is refused."""
    path = tmp_path / "big.py"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="1,048,576 bytes"):
        provider(path).check()


def test_file_in_another_encoding_is_told_with_the_byte(tmp_path: Path) -> None:
    """Latin-1 is refused with the place where it stops being UTF-8."""
    path = tmp_path / "latin.py"
    path.write_bytes("# é\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"not UTF-8 \(byte 2 is 0xe9\)"):
        provider(path).check()


@pytest.mark.parametrize(("key", "value"), [("sample", 3), ("id", "claude"), ("effort", "low")])
def test_keys_of_other_models_are_refused(tmp_path: Path, key: str, value: object) -> None:
    """The file stays what is judged, so what would be ignored is told."""
    made = provider(tmp_path / "kernel.py")
    (tmp_path / "kernel.py").write_text("x = 1\n")
    settings = dataclasses.replace(made._settings, **{key: value})
    with pytest.raises(ConfigError, match=f"model\\.{key}={value} is of no use with model=file"):
        FileProvider(settings).check()
