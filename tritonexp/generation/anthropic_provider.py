"""Claude through the Anthropic API, or a local server that speaks the same protocol.

Before a stream starts, the SDK itself retries what can pass (429, 5xx, no connection). A stream
that fails after it started is asked for again by us, at most twice and after a short pause.
Which exceptions mean what was tried with anthropic 2.12: an error event raises APIStatusError with
status 200, a cut connection a bare httpx2 error, a clean early close nothing at all.

Not covered: tools, prompt caching, batches, turns beyond the first; and what the tokens of a
failed stream cost, which the API does not say. A server that only ever sends pings is waited for.
"""

import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tritonexp.errors import ConfigError, GenerationError, MissingKeyError
from tritonexp.generation.prices import cost_usd
from tritonexp.generation.settings import ProviderSettings, refuse_unread
from tritonexp.records import Completion, MachineFacts, Prompt, Status, Usage

if TYPE_CHECKING:
    import anthropic
    from anthropic.types import Message

# pauses before a failed stream is asked for again: two more tries
STREAM_PAUSES_S = (1.0, 4.0)
# as the SDK's own; the silence that timeout_s allows is for answers, not for connecting
CONNECT_TIMEOUT_S = 5.0

# https://platform.claude.com/docs/en/api/errors: every later request would fail in the same way
_KEY_ERRORS = frozenset({"authentication_error", "permission_error"})
_KEY_STATUSES = frozenset({401, 403})
_UNKNOWN = "not_found_error"
_UNKNOWN_STATUS = 404
# errors of the moment, worth asking again when they come inside a stream
_PASSING_ERRORS = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error"})


class _StreamFailedError(Exception):
    """A stream that started and did not end; may be asked for again."""


def make(settings: ProviderSettings) -> "AnthropicProvider":
    """Make the provider for these settings."""
    return AnthropicProvider(settings)


class AnthropicProvider:
    """Asks a Claude model, each prompt as a conversation of its own."""

    def __init__(
        self, settings: ProviderSettings, stream_pauses_s: tuple[float, ...] = STREAM_PAUSES_S
    ) -> None:
        self._settings = settings
        self._stream_pauses_s = stream_pauses_s

    @property
    def name(self) -> str:
        """The short name that the user chose."""
        return self._settings.name

    @property
    def takes_prompt(self) -> bool:
        """True: the prompt is all that the model is sent."""
        return True

    @property
    def parallel(self) -> int:
        """As many as the user allows; each answer has a client of its own."""
        return self._settings.parallel

    def check(self) -> None:
        """Raise MissingKeyError without a key, ConfigError for settings that cannot be used."""
        refuse_unread(self._settings, "id", "effort")
        self._model_id()
        self._key()
        if self._settings.base_url is not None:
            _check_url(self._settings.base_url)
        if self._settings.parallel < 1:
            raise ConfigError(
                f"model.parallel={self._settings.parallel} asks for nothing; set it to 1 or more."
            )

    def facts(self, prompt: str) -> MachineFacts | None:  # noqa: ARG002  # the protocol's
        """None: the prompt tells of the machine at hand."""
        return None

    def complete(self, prompt: Prompt) -> Completion:
        """Ask once; raises GenerationError for what the settings alone are to blame for.

        That is a key that the API refuses, a model that it does not know, and an address where
        nobody listens: every job would fail in the same way, and none by the model's fault.
        latency_s is that of the request that was answered, the SDK's own retries included.
        """
        import anthropic

        reason, started = "", time.perf_counter()
        with self._client() as client:
            for pause_s in (0.0, *self._stream_pauses_s):
                time.sleep(pause_s)
                started = time.perf_counter()
                try:
                    message, request_id = self._stream(client, prompt)
                except _StreamFailedError as error:
                    reason = str(error)
                except anthropic.APIStatusError as error:
                    self._refuse_key_error(error)
                    self._refuse_unknown(error)
                    return self._failed(_told(error), started, error.request_id)
                except anthropic.APIError as error:
                    self._refuse_unconnected(error)
                    return self._failed(self._unreached(error), started, None)
                else:
                    return self._completed(message, time.perf_counter() - started, request_id)
        tries = len(self._stream_pauses_s) + 1
        return self._failed(f"{reason} (tried {tries} times)", started, None)

    def _stream(
        self, client: "anthropic.Anthropic", prompt: Prompt
    ) -> tuple["Message", str | None]:
        import anthropic
        import httpx2

        settings = self._settings
        options: dict[str, Any] = {}
        if settings.effort is not None:
            options["output_config"] = {"effort": settings.effort}
        with client.messages.stream(
            model=self._model_id(),
            max_tokens=settings.max_tokens,
            messages=[{"role": "user", "content": prompt.text}],
            **options,
        ) as stream:
            ended = False
            try:
                for event in stream:
                    ended = event.type == "message_stop"
            except anthropic.APIStatusError as error:
                # the headers said 200, and the error came as an event
                if error.type in _PASSING_ERRORS:
                    raise _StreamFailedError(f"the stream ended in {_told(error)}") from error
                raise
            except httpx2.HTTPError as error:
                raise _StreamFailedError(
                    f"the connection was lost in the middle of the answer:"
                    f" {type(error).__name__}: {error}"
                ) from error
            except ValueError as error:
                raise _StreamFailedError(
                    f"the stream held an event that is no JSON: {error}"
                ) from error
            if not ended:
                raise _StreamFailedError("the stream was closed before the answer was complete")
            return stream.get_final_message(), stream.request_id

    def _completed(
        self, message: "Message", latency_s: float, request_id: str | None
    ) -> Completion:
        settings = self._settings
        details = message.usage.output_tokens_details
        usage = Usage(
            input_tokens=message.usage.input_tokens,
            output_tokens=message.usage.output_tokens,
            cache_read_tokens=message.usage.cache_read_input_tokens,
            cache_write_tokens=message.usage.cache_creation_input_tokens,
            thinking_tokens=None if details is None else details.thinking_tokens,
        )
        failure, reason = self._judge(message)
        return Completion(
            # thinking comes in blocks of its own, before the text
            text="".join(block.text for block in message.content if block.type == "text"),
            model_asked=self._model_id(),
            model_answered=message.model,
            stop_reason=message.stop_reason,
            usage=usage,
            cost_usd=cost_usd(usage, settings.input_usd_per_mtok, settings.output_usd_per_mtok),
            latency_s=latency_s,
            request_id=request_id,
            failure=failure,
            reason=reason,
            origin="api",
            sample=None,
            recorded_on=None,
        )

    def _judge(self, message: "Message") -> tuple[Status | None, str]:
        match message.stop_reason:
            case None:
                return Status.API_ERROR, "the answer ended without saying why it stopped"
            case "refusal":
                details = message.stop_details
                told = details and (details.explanation or details.category)
                return (
                    Status.REFUSED,
                    f"{message.model} refused: {told or 'it gave no explanation'}",
                )
            case "max_tokens":
                return Status.TRUNCATED, (
                    f"the answer was cut at max_tokens={self._settings.max_tokens}, thinking"
                    f" included; raise model.max_tokens or lower model.effort"
                )
            case "model_context_window_exceeded":
                return Status.TRUNCATED, "prompt and answer together filled the model's context"
        return None, ""

    def _failed(self, reason: str, started: float, request_id: str | None) -> Completion:
        return Completion(
            text="",
            model_asked=self._model_id(),
            model_answered=None,
            stop_reason=None,
            usage=None,
            cost_usd=None,
            latency_s=time.perf_counter() - started,
            request_id=request_id,
            failure=Status.API_ERROR,
            reason=reason,
            origin="api",
            sample=None,
            recorded_on=None,
        )

    def _client(self) -> "anthropic.Anthropic":
        import anthropic

        silence_s = self._settings.timeout_s
        return anthropic.Anthropic(
            api_key=self._key(),
            # None leaves ANTHROPIC_BASE_URL and then the API's own address to the SDK
            base_url=self._settings.base_url,
            timeout=anthropic.Timeout(silence_s, connect=min(silence_s, CONNECT_TIMEOUT_S)),
        )

    def _key(self) -> str:
        # a key that was read from a file often ends in a newline, which no header can hold
        key = os.environ.get(self._settings.api_key_env, "").strip()
        if not key:
            raise MissingKeyError(
                f"model={self.name} needs an API key, but {self._settings.api_key_env} is not set;"
                f" export it, or choose model=recorded or model=file, which need none."
            )
        return key

    def _model_id(self) -> str:
        if not self._settings.id:
            raise ConfigError(
                f"model={self.name} does not say which model to ask; set model.id to an id of the"
                f" API, such as those in conf/model/."
            )
        return self._settings.id

    def _refuse_key_error(self, error: "anthropic.APIStatusError") -> None:
        if error.status_code in _KEY_STATUSES or error.type in _KEY_ERRORS:
            # the cause holds the request and so the key: leave it out of the traceback
            raise GenerationError(
                f"the API does not accept the key in {self._settings.api_key_env} for"
                f" {self._model_id()} ({_told(error)}); set a valid one, or choose model=recorded"
                f" or model=file, which need none."
            ) from None

    def _refuse_unknown(self, error: "anthropic.APIStatusError") -> None:
        if error.status_code == _UNKNOWN_STATUS or error.type == _UNKNOWN:
            raise GenerationError(
                f"the API{self._where()} does not know what it was asked for, the model"
                f" {self._model_id()} ({_told(error)}); correct model.id or model.base_url."
            ) from None

    def _refuse_unconnected(self, error: "anthropic.APIError") -> None:
        import anthropic
        import httpx2

        # a timeout is one too, and says nothing against the address
        if isinstance(error, anthropic.APITimeoutError):
            return
        if isinstance(error.__cause__, httpx2.ConnectError):
            raise GenerationError(
                f"nobody answers{self._where() or ' at the address of the API'}"
                f" ({error.__cause__}); correct model.base_url, or find out why the network does"
                " not lead there."
            ) from None

    def _where(self) -> str:
        return f" at {self._settings.base_url}" if self._settings.base_url else ""

    def _unreached(self, error: "anthropic.APIError") -> str:
        import anthropic

        if isinstance(error, anthropic.APITimeoutError):
            return f"the API sent nothing for {self._settings.timeout_s:g} s (model.timeout_s)"
        cause = f": {type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else ""
        return f"the API{self._where()} could not be reached: {error.message.rstrip('.')}{cause}"


def _told(error: "anthropic.APIStatusError") -> str:
    # the body's own words; an answer that is not the API's, as from a proxy, has none
    message = error.api_message or error.message
    kind = error.type or type(error).__name__
    # an error event comes under the 200 of the stream's headers, which would mislead
    status = "" if error.response.is_success else f"{error.status_code} "
    return f"{status}{kind}: {message}"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port  # raises where it is no port number
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError(
            f"model.base_url={url!r} is no address; write it as in http://127.0.0.1:8080,"
            f" or null for the API itself."
        )
