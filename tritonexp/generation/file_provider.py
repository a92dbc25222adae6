"""The user's own kernel file in a model's place.

Not covered: kernels that spread over several files; a candidate is one file.
"""

from pathlib import Path

from tritonexp.errors import ConfigError
from tritonexp.generation.settings import ProviderSettings, refuse_unread
from tritonexp.records import Completion, MachineFacts, Prompt

# far beyond any kernel, and small enough to keep whole in a record
MAX_BYTES = 1_048_576


def make(settings: ProviderSettings) -> "FileProvider":
    """Make the provider for these settings."""
    return FileProvider(settings)


class FileProvider:
    """Answers with the text of one file, whatever the prompt."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        """The short name that the user chose."""
        return self._settings.name

    @property
    def takes_prompt(self) -> bool:
        """False: nobody was asked for the file."""
        return False

    @property
    def parallel(self) -> int:
        """1: there is one answer."""
        return 1

    def check(self) -> None:
        """Raise ConfigError if the file cannot be read, or what is given is no file's."""
        refuse_unread(self._settings, "path")
        self._read()

    def facts(self, prompt: str) -> MachineFacts | None:  # noqa: ARG002  # the protocol's
        """None: the file was not written for any stored machine."""
        return None

    def complete(self, prompt: Prompt) -> Completion:  # noqa: ARG002  # the protocol's
        """Answer with the file's text, whole; raises ConfigError if it cannot be read."""
        path, text = self._read()
        return Completion(
            text=text,
            model_asked=path.name,
            model_answered=None,
            stop_reason=None,
            usage=None,
            cost_usd=None,
            latency_s=None,
            request_id=None,
            failure=None,
            reason="",
            origin="file",
            sample=None,
            recorded_on=None,
        )

    def _read(self) -> tuple[Path, str]:
        if not self._settings.path:
            raise ConfigError(
                f"model={self.name} evaluates a kernel file, but model.path is not set;"
                f" give one, as in model=file model.path=my_kernel.py."
            )
        path = Path(self._settings.path)
        if path.is_dir():
            raise ConfigError(
                f"model.path={path} is a directory; give the Python file that defines"
                f" {self._settings.operation}."
            )
        # a device or a pipe could be read without end
        if path.exists() and not path.is_file():
            raise ConfigError(f"model.path={path} is no regular file; give a Python file.")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"model.path={path} cannot be read ({error.strerror}); give a readable Python file"
                f" that defines {self._settings.operation}. The path counts from {Path.cwd()}."
            ) from error
        if len(data) > MAX_BYTES:
            raise ConfigError(
                f"model.path={path} is larger than {MAX_BYTES:,} bytes, the most that a kernel file"
                f" may have; give a Python source file."
            )
        try:
            # a byte order mark is no part of the source
            return path, data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"model.path={path} is not UTF-8 (byte {error.start} is {data[error.start]:#04x});"
                f" save it as UTF-8 Python source."
            ) from error
