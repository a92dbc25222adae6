"""Real responses, kept word for word in files and played back.

A recording is <recorded_dir>/<prompt name>/<NN>.md: front matter in YAML between `---` lines, one
blank line, then the response's bytes as they came. The front matter says which prompt was answered
(by hash), when, by what, and the facts of the machine that the prompt told, so that the same
prompt can be rendered, and the response played, on any machine.

Not covered: latency, tokens and cost of a recorded response; they were not kept and are None.
"""

import dataclasses
import datetime as dt
import json
import re
from pathlib import Path

from tritonexp.errors import RecordingError
from tritonexp.generation.settings import ProviderSettings, refuse_unread
from tritonexp.records import Completion, MachineFacts, Prompt, Status, fault_of, from_json

# hash digits shown in a message: enough to tell two prompts apart by eye
_SHOWN_DIGITS = 12

# the first line that is --- closes the front matter, so the response may begin with one
_RECORDING = re.compile(rb"---\n(?P<header>.*?\n)---\n\n(?P<response>.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Header:
    prompt_sha256: str
    date: str
    model: str
    sample: int
    facts: MachineFacts
    # false for a response that was cut off on its way: it is kept all the same, and counts
    complete: bool = True


def make(settings: ProviderSettings) -> "RecordedProvider":
    """Make the provider for these settings."""
    return RecordedProvider(settings)


class RecordedProvider:
    """Plays recordings in turn: the first completion is settings.sample, each later one the next.

    So a strategy that asks n times gets n samples, as it would from an API.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._sample = settings.sample

    @property
    def name(self) -> str:
        """The short name that the user chose."""
        return self._settings.name

    @property
    def takes_prompt(self) -> bool:
        """True: a recording answers the one prompt of its hash."""
        return True

    @property
    def parallel(self) -> int:
        """1: the samples are played in their order."""
        return 1

    def check(self) -> None:
        """Raise RecordingError without recordings, ConfigError for keys of other models."""
        refuse_unread(self._settings, "sample")
        if not _recorded_prompts(self._settings.recorded_dir):
            raise RecordingError(self._nothing_for(self._settings.operation))

    def facts(self, prompt: str) -> MachineFacts:
        """Return the facts that the recorded prompt told."""
        return self._load(prompt)[0].facts

    def complete(self, prompt: Prompt) -> Completion:
        """Play the next sample; raises RecordingError if it answers another prompt or is absent."""
        header, response = self._load(prompt.name)
        if header.prompt_sha256 != prompt.sha256:
            raise RecordingError(
                f"{recording_path(self._settings.recorded_dir, prompt.name, self._sample)} answers"
                f" a prompt whose sha256 begins {header.prompt_sha256[:_SHOWN_DIGITS]}, but prompt"
                f" {prompt.name!r} now renders to {prompt.sha256[:_SHOWN_DIGITS]}; undo the change"
                f" to the prompt or the baseline, or record a response to the new one"
                f" (python -m tritonexp record --help)."
            )
        completion = Completion(
            text=response,
            model_asked=self.name,
            model_answered=header.model,
            stop_reason=None,
            usage=None,
            cost_usd=None,
            latency_s=None,
            request_id=None,
            failure=None if header.complete else Status.TRUNCATED,
            reason="" if header.complete else "the recorded response was cut off on its way",
            origin="recorded",
            sample=self._sample,
            recorded_on=header.date,
        )
        later = [s for s in samples(self._settings.recorded_dir, prompt.name) if s > self._sample]
        self._sample = min(later, default=self._sample + 1)
        return completion

    def _load(self, prompt: str) -> tuple[_Header, str]:
        folder = self._settings.recorded_dir
        there = samples(folder, prompt)
        if not there:
            raise RecordingError(self._nothing_for(f"{self._settings.operation}/{prompt}"))
        if self._sample not in there:
            raise RecordingError(
                f"{self._settings.operation}/{prompt} has no recorded sample {self._sample};"
                f" there are {', '.join(map(str, there))}. Choose one with model.sample=N, ask for"
                f" fewer answers, or record one more (python -m tritonexp record --help)."
            )
        return _read(recording_path(folder, prompt, self._sample))

    def _nothing_for(self, wanted: str) -> str:
        prompts = _recorded_prompts(self._settings.recorded_dir)
        there, choice = "none exist", "another model"
        if prompts:
            there = f"the prompts with recordings are {', '.join(prompts)}"
            choice = "one of these or another model"
        return (
            f"there is no recorded response for {wanted} in {self._settings.recorded_dir}; {there}."
            f" Choose {choice}, or record one (python -m tritonexp record --help)."
        )


def recording_path(recorded_dir: Path, prompt: str, sample: int) -> Path:
    """Where a sample of a prompt is kept."""
    return recorded_dir / prompt / f"{sample:02d}.md"


def samples(recorded_dir: Path, prompt: str) -> tuple[int, ...]:
    """List the samples that are recorded for a prompt of that name."""
    numbers = (
        int(path.stem) for path in (recorded_dir / prompt).glob("*.md") if path.stem.isdecimal()
    )
    return tuple(sorted(n for n in numbers if recording_path(recorded_dir, prompt, n).is_file()))


def write_recording(  # a path and the five things that it keeps
    path: Path,
    prompt: Prompt,
    response: str,
    date: str,
    model: str,
    sample: int,
    *,
    complete: bool = True,
) -> None:
    """Write a recording; raises RecordingError rather than replace one.

    date is ISO, as in 2026-11-23; the path is that of recording_path.
    """
    import yaml

    if path.name != f"{sample:02d}.md" or path.parent.name != prompt.name or sample < 1:
        raise RecordingError(
            f"sample {sample} of prompt {prompt.name!r} cannot be kept at {path};"
            f" its path ends in {recording_path(Path(), prompt.name, max(sample, 1))}."
        )
    try:
        dt.date.fromisoformat(date)
    except ValueError as error:
        raise RecordingError(
            f"the date {date!r} of a recording is not ISO; write it as in 2026-11-23."
        ) from error
    header = _Header(
        prompt_sha256=prompt.sha256,
        date=date,
        model=model,
        sample=sample,
        facts=prompt.facts,
        complete=complete,
    )
    front = yaml.safe_dump(dataclasses.asdict(header), sort_keys=False, allow_unicode=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # bytes, because text mode would change the response's line ends
        with path.open("xb") as file:
            file.write(f"---\n{front}---\n\n".encode() + response.encode())
    except FileExistsError as error:
        raise RecordingError(
            f"{path} exists, and a recording is evidence that is not written over;"
            f" take the next sample number, or delete the file first."
        ) from error


def _recorded_prompts(recorded_dir: Path) -> tuple[str, ...]:
    folders = (path for path in recorded_dir.glob("*") if path.is_dir())
    return tuple(sorted(path.name for path in folders if samples(recorded_dir, path.name)))


def _read(path: Path) -> tuple[_Header, str]:
    import yaml

    found = _RECORDING.fullmatch(path.read_bytes())
    if found is None:
        raise RecordingError(
            f"{path} is no recording: it must begin with front matter between --- lines, followed"
            f" by one blank line; restore the file or record the response again."
        )
    try:
        # an unquoted date is a date to YAML and has no place in JSON
        data = json.dumps(yaml.safe_load(found["header"].decode()), default=str)
        header = from_json(_Header, data)
        response = found["response"].decode()
    # yaml's own errors are no ValueError, those of UTF-8 and of the record's check are
    except (yaml.YAMLError, ValueError) as error:
        fault = fault_of(error) if isinstance(error, ValueError) else str(error)
        raise RecordingError(
            f"{path} cannot be read as a recording: {fault}; restore the file or record the"
            f" response again."
        ) from error
    if header.sample != int(path.stem):
        raise RecordingError(
            f"{path} says that it is sample {header.sample}; the file's name and its sample must"
            f" agree, so rename the file or correct the number."
        )
    return header, response
