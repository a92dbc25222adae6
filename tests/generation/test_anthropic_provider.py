"""The Anthropic provider against a server that speaks the API's protocol, through the real SDK."""

import socket
from pathlib import Path

import pytest

from tests.fixtures.api_server import ApiServer, End, Reply
from tritonexp.errors import ConfigError, GenerationError, MissingKeyError
from tritonexp.generation.anthropic_provider import AnthropicProvider
from tritonexp.generation.settings import ProviderSettings
from tritonexp.records import Completion, Prompt, Status, Usage

ANSWER = "Here it is:\n```python\ndef softmax(x):\n    return x  # π\n```\n"
# the SDK's own waits before a stream starts are seconds otherwise
RETRY_NOW = {"retry-after-ms": "1"}


def settings_for(api: ApiServer | None, **changes: object) -> ProviderSettings:
    """Describe a model behind the test's server."""
    values: dict[str, object] = {
        "name": "sonnet",
        "provider": "anthropic",
        "id": "claude-sonnet-5-5",
        "effort": "high",
        "max_tokens": 4096,
        "timeout_s": 10.0,
        "base_url": api.url if api else None,
        "input_usd_per_mtok": 2.0,
        "output_usd_per_mtok": 10.0,
        "operation": "softmax",
        "recorded_dir": Path("unused"),
    }
    return ProviderSettings(**{**values, **changes})


def ask(api: ApiServer, prompt: Prompt, **changes: object) -> Completion:
    """Complete once, without pauses between the tries of a failed stream."""
    return AnthropicProvider(settings_for(api, **changes), (0.0, 0.0)).complete(prompt)


def test_answer_is_read_whole_with_model_usage_cost_and_latency(
    api: ApiServer, prompt: Prompt
) -> None:
    """A normal stream becomes a completion with every figure that the API gave."""
    api.play(Reply(text=ANSWER, model="claude-sonnet-5-5-20261001", thinking_tokens=120))
    completion = ask(api, prompt)
    assert completion.text == ANSWER
    assert completion.failure is None
    assert completion.model_asked == "claude-sonnet-5-5"
    assert completion.model_answered == "claude-sonnet-5-5-20261001"
    assert completion.stop_reason == "end_turn"
    assert completion.request_id == "req_test"
    assert completion.origin == "api"
    assert completion.usage == Usage(
        input_tokens=1000,
        output_tokens=500,
        cache_read_tokens=0,
        cache_write_tokens=0,
        thinking_tokens=120,
    )
    assert completion.cost_usd == pytest.approx(0.007)
    assert completion.latency_s is not None
    assert 0 < completion.latency_s < 10


def test_request_holds_the_prompt_the_effort_and_nothing_that_the_api_refuses(
    api: ApiServer, prompt: Prompt
) -> None:
    """What is sent is the prompt as one user message, streamed, with the effort set."""
    api.play(Reply(text=ANSWER))
    ask(api, prompt)
    (request,) = api.requests
    assert request.key == "key-of-the-test"
    assert request.body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": prompt.text}],
        "output_config": {"effort": "high"},
        "stream": True,
    }


def test_no_effort_sends_no_output_config(api: ApiServer, prompt: Prompt) -> None:
    """A model that takes no effort is asked without one."""
    api.play(Reply(text=ANSWER))
    ask(api, prompt, effort=None)
    assert "output_config" not in api.requests[0].body


def test_thinking_is_no_part_of_the_text(api: ApiServer, prompt: Prompt) -> None:
    """Of the blocks, those of type text are the answer."""
    api.play(Reply(text=ANSWER, thinking="```python\ndef softmax(x): ...\n```"))
    assert ask(api, prompt).text == ANSWER


def test_unknown_price_gives_no_cost(api: ApiServer, prompt: Prompt) -> None:
    """Tokens are counted, but no dollars invented."""
    api.play(Reply(text=ANSWER))
    completion = ask(api, prompt, output_usd_per_mtok=None)
    assert completion.usage is not None
    assert completion.cost_usd is None


def test_refusal_is_an_outcome_with_its_explanation(api: ApiServer, prompt: Prompt) -> None:
    """A refusal keeps its usage and tells the API's words."""
    details = {"type": "refusal", "category": "cyber", "explanation": "It looked like an exploit."}
    api.play(Reply(text="I cannot", stop_reason="refusal", stop_details=details))
    completion = ask(api, prompt)
    assert completion.failure is Status.REFUSED
    assert "It looked like an exploit." in completion.reason
    assert completion.usage is not None


@pytest.mark.parametrize("stop_reason", ["max_tokens", "model_context_window_exceeded"])
def test_cut_answer_is_truncated(api: ApiServer, prompt: Prompt, stop_reason: str) -> None:
    """An answer that the API cut is TRUNCATED, with its text and cost kept."""
    api.play(Reply(text=ANSWER, stop_reason=stop_reason))
    completion = ask(api, prompt)
    assert completion.failure is Status.TRUNCATED
    assert completion.stop_reason == stop_reason
    assert completion.text == ANSWER
    assert completion.cost_usd == pytest.approx(0.007)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (End.ERROR, "overloaded_error: Overloaded"),
        (End.CUT, "RemoteProtocolError"),
        (End.CLOSE, "closed before the answer was complete"),
        (End.CLOSE_BEFORE_STOP, "closed before the answer was complete"),
        (End.CLOSE_IN_EVENT, "closed before the answer was complete"),
        (End.GARBLED, "no JSON"),
        (End.EMPTY, "closed before the answer was complete"),
    ],
)
def test_broken_stream_is_an_api_error_after_three_tries(
    api: ApiServer, prompt: Prompt, end: End, told: str
) -> None:
    """However a stream breaks, it is asked for twice more and never taken for an answer."""
    broken = Reply(text=ANSWER, end=end, error_type="overloaded_error", error_message="Overloaded")
    api.play(broken, broken, broken, Reply(text="never asked for"))
    completion = ask(api, prompt)
    assert completion.failure is Status.API_ERROR
    assert told in completion.reason
    assert "200" not in completion.reason
    assert completion.text == ""
    assert completion.usage is None
    assert completion.cost_usd is None
    assert len(api.requests) == 3


@pytest.mark.parametrize("end", [End.ERROR, End.CUT, End.CLOSE])
def test_stream_that_breaks_once_is_asked_for_again(
    api: ApiServer, prompt: Prompt, end: End
) -> None:
    """A failure of the moment costs a try, not the attempt."""
    api.play(Reply(text="half", end=end, error_type="overloaded_error"), Reply(text=ANSWER))
    completion = ask(api, prompt)
    assert completion.failure is None
    assert completion.text == ANSWER


def test_error_event_that_would_come_again_is_not_asked_for_again(
    api: ApiServer, prompt: Prompt
) -> None:
    """An invalid request inside a stream ends the attempt at once."""
    api.play(Reply(text=ANSWER, end=End.ERROR, error_type="invalid_request_error"))
    completion = ask(api, prompt)
    assert completion.failure is Status.API_ERROR
    assert "invalid_request_error: an error of the test" in completion.reason
    assert len(api.requests) == 1


def test_silent_stream_ends_after_the_timeout(api: ApiServer, prompt: Prompt) -> None:
    """A server that stops sending is given up after timeout_s."""
    api.play(Reply(text=ANSWER, end=End.SILENCE))
    provider = AnthropicProvider(settings_for(api, timeout_s=0.3), ())
    completion = provider.complete(prompt)
    assert completion.failure is Status.API_ERROR
    assert "ReadTimeout" in completion.reason


def test_rate_limit_before_the_stream_is_retried_by_the_sdk(api: ApiServer, prompt: Prompt) -> None:
    """A 429 costs nothing but time."""
    limit = Reply(status=429, error_type="rate_limit_error", headers=RETRY_NOW)
    api.play(limit, Reply(text=ANSWER))
    assert ask(api, prompt).text == ANSWER
    assert len(api.requests) == 2


def test_rate_limit_that_stays_is_an_api_error(api: ApiServer, prompt: Prompt) -> None:
    """When the SDK gives up, the API's status and words are the reason; we do not try on."""
    limit = Reply(
        status=429, error_type="rate_limit_error", error_message="Slow down.", headers=RETRY_NOW
    )
    api.play(*[limit] * 4)
    completion = ask(api, prompt)
    assert completion.failure is Status.API_ERROR
    assert "429 rate_limit_error: Slow down." in completion.reason
    assert completion.request_id == "req_test"
    assert len(api.requests) == 3


def test_unknown_model_raises_because_it_is_the_settings_fault(
    api: ApiServer, prompt: Prompt
) -> None:
    """A 404 is told in the API's own words, and counts as nobody's answer."""
    with pytest.raises(
        GenerationError, match=r"the model claude-none .*correct model\.id"
    ) as raised:
        ask(api, prompt, id="claude-none")
    assert "404 not_found_error: model: claude-none" in str(raised.value)
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "error_type"), [(401, "authentication_error"), (403, "permission_error")]
)
def test_refused_key_raises_because_every_job_would_fail(
    api: ApiServer, prompt: Prompt, status: int, error_type: str
) -> None:
    """A bad key ends the run, says where the key comes from, and does not show it."""
    api.play(Reply(status=status, error_type=error_type, error_message="invalid x-api-key"))
    with pytest.raises(GenerationError) as raised:
        ask(api, prompt)
    assert "ANTHROPIC_API_KEY" in str(raised.value)
    assert "model=recorded" in str(raised.value)
    assert "key-of-the-test" not in str(raised.value)
    assert len(api.requests) == 1


def test_address_where_nobody_listens_raises(prompt: Prompt, api: ApiServer) -> None:
    """A refused connection is the address's fault, after the SDK has tried again."""
    with ApiServer() as gone:
        url = gone.url
    with pytest.raises(GenerationError, match=r"correct model\.base_url") as raised:
        ask(api, prompt, base_url=url)
    assert f"nobody answers at {url} (" in str(raised.value)
    assert "key-of-the-test" not in str(raised.value)


def test_name_that_does_not_resolve_raises(
    prompt: Prompt, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds of a host that there is not."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(GenerationError, match=r"nobody answers at http://nowhere\.invalid \("):
        ask(api, prompt, base_url="http://nowhere.invalid")


def test_proxy_page_in_place_of_the_api_raises(api: ApiServer, prompt: Prompt) -> None:
    """An address whose path is not the API's is told by its status and by the address."""
    with pytest.raises(GenerationError, match=r"/elsewhere does not know .*404"):
        ask(api, prompt, base_url=api.url + "/elsewhere")


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("key", "value", "taker"), [("path", "mine.py", "model=file"), ("sample", 3, "model=recorded")]
)
def test_keys_of_other_models_are_refused_by_check(key: str, value: object, taker: str) -> None:
    """Who gives one takes the answer for that file's or that sample's."""
    with pytest.raises(
        ConfigError, match=rf"model\.{key}={value} is of no use with model=sonnet: {taker} takes it"
    ):
        AnthropicProvider(settings_for(None, **{key: value})).check()


@pytest.mark.parametrize("key", [None, "", " \n"])
def test_missing_key_is_one_sentence_that_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """Without a key, check() names the variable and the models that need none."""
    monkeypatch.delenv("MY_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    provider = AnthropicProvider(settings_for(None, api_key_env="MY_KEY"))
    with pytest.raises(MissingKeyError, match="MY_KEY is not set") as raised:
        provider.check()
    assert "model=recorded" in str(raised.value)
    assert "model=file" in str(raised.value)


def test_key_is_taken_from_the_named_variable_without_its_newline(
    api: ApiServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that was read from a file works."""
    monkeypatch.setenv("MY_KEY", "another-key\n")
    api.play(Reply(text=ANSWER))
    ask(api, prompt, api_key_env="MY_KEY")
    assert api.requests[0].key == "another-key"


def test_check_passes_with_a_key_and_asks_nothing(api: ApiServer) -> None:
    """check() costs no request."""
    AnthropicProvider(settings_for(api)).check()
    assert api.requests == []


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host", "http://", "http://host:port"])
@pytest.mark.usefixtures("api")
def test_bad_base_url_is_refused_by_check(url: str) -> None:
    """An address that cannot work is told before anything is measured."""
    with pytest.raises(ConfigError, match=r"model\.base_url="):
        AnthropicProvider(settings_for(None, base_url=url)).check()


@pytest.mark.usefixtures("api")
def test_nothing_at_once_is_refused_by_check() -> None:
    """A number of answers that asks for none is a mistake, told before anything is asked."""
    with pytest.raises(ConfigError, match=r"model\.parallel=0 asks for nothing"):
        AnthropicProvider(settings_for(None, parallel=0)).check()


def test_missing_model_id_is_refused_by_check() -> None:
    """A model file without an id is told by the option's name."""
    with pytest.raises(ConfigError, match=r"model\.id"):
        AnthropicProvider(settings_for(None, id=None)).check()
