"""Answers that were paid for, on disk from the moment they come until a record holds them.

Each waits in a folder of its own under `<tracking.folder>/answers/`: response.md and prompt.md word
for word, and answer.json with all that is known of it. A run that is interrupted, or that fails
before its record is written, leaves them there; `python -m tritonexp log` lists them.
Does not cover answers that are still on their way: those are lost, and what they cost with them.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.generation.wrapping import Wrapped
from tritonexp.protocols import Provider
from tritonexp.records import Completion, Prompt, fault_of, from_json, to_json

ANSWER_FILE = "answer.json"


@dataclass(frozen=True, kw_only=True)
class PaidAnswer:
    """An answer with what is needed to record it, or to know what it cost."""

    date: str  # ISO, UTC
    job: str  # operation/model/prompt
    sweep: str | None
    operation: str
    prompt: Prompt
    prompt_sha256: str
    completion: Completion

    @property
    def model(self) -> str:
        """The model that answered, or else the one that was asked."""
        return self.completion.model_answered or self.completion.model_asked


def answers_in(tracking_folder: Path) -> Path:
    """Where answers wait."""
    return tracking_folder / "answers"


def waiting(tracking_folder: Path) -> tuple[Path, ...]:
    """List the folders of the answers that no record holds, oldest first."""
    found = answers_in(tracking_folder).glob(f"[!.]*/{ANSWER_FILE}")
    return tuple(sorted(path.parent for path in found))


def read(folder: Path) -> PaidAnswer:
    """Read an answer that waits; raises ConfigError where there is none."""
    path = folder / ANSWER_FILE
    try:
        return from_json(PaidAnswer, path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); give the folder of an answer that waits, as"
            " `python -m tritonexp log` lists them."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path} holds no answer that this version can read ({fault_of(error)}); the answer"
            " itself is in response.md beside it."
        ) from error


def dismiss(folder: Path) -> None:
    """Remove an answer that is kept elsewhere; it may be gone, since its folder is a user's too."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


class Keeping(Wrapped):
    """A provider that writes each answer that was paid for before anybody else has it."""

    def __init__(
        self,
        provider: Provider,
        tracking_folder: Path,
        operation: str,
        sweep: str | None,
        note: Callable[[str], None],
    ) -> None:
        """`note` is told where an answer could not be written."""
        super().__init__(provider)
        self._home = answers_in(tracking_folder)
        self._operation = operation
        self._sweep = sweep
        self._note = note
        self._kept: list[tuple[Completion, Path]] = []

    def complete(self, prompt: Prompt) -> Completion:
        """Have the provider answer, and write what it was paid for; may be called by threads."""
        completion = self._provider.complete(prompt)
        if _is_paid(completion):
            try:
                self._kept.append((completion, self._write(prompt, completion)))
            except (OSError, ValueError) as error:
                # to fail would lose the answer itself
                self._note(
                    f"an answer of {self.name} cannot be kept in {self._home} ({error});"
                    " it is judged all the same, and lost if this run is interrupted."
                )
        return completion

    def release(self, held: Iterable[Completion]) -> None:
        """Remove what was written of answers that a record holds by now."""
        taken = {id(completion) for completion in held}
        for completion, folder in self._kept:
            if id(completion) in taken:
                dismiss(folder)
        self._kept = [item for item in self._kept if id(item[0]) not in taken]

    def _write(self, prompt: Prompt, completion: Completion) -> Path:
        now = datetime.now(UTC)
        answer = PaidAnswer(
            date=now.isoformat(timespec="seconds"),
            job=f"{self._operation}/{self.name}/{prompt.name}",
            sweep=self._sweep,
            operation=self._operation,
            prompt=prompt,
            prompt_sha256=prompt.sha256,
            completion=completion,
        )
        name = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        # under its name it is whole: the process may end at any moment, and its threads with it
        beside = self._home / f".{name}.tmp"
        beside.mkdir(parents=True)
        (beside / ANSWER_FILE).write_text(to_json(answer), encoding="utf-8")
        # bytes, since text mode would change the line ends
        (beside / "response.md").write_bytes(completion.text.encode())
        (beside / "prompt.md").write_bytes(prompt.text.encode())
        return beside.rename(self._home / name)


def _is_paid(completion: Completion) -> bool:
    """Whether an answer cost something; a request that failed tells of no tokens."""
    return completion.origin == "api" and (bool(completion.text) or completion.usage is not None)
