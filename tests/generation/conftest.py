"""Prompts and a local API for the tests of generation."""

import dataclasses
from collections.abc import Iterator

import pytest

from tests.fixtures.api_server import ApiServer
from tritonexp.records import MachineFacts, Prompt

FACTS = MachineFacts(
    triton_version="3.7.1",
    gpu_name="NVIDIA H200",
    compute_capability="9.0",
    sm_count=132,
    shared_memory_per_block_bytes=232_448,
    l2_bytes=62_914_560,
    bandwidth_gb_s=4257.25,
)


@pytest.fixture
def prompt() -> Prompt:
    """Make a rendered prompt."""
    return Prompt(
        name="hardware_aware",
        components=("task", "machine"),
        text="Write softmax in Triton.\nThe GPU is an NVIDIA H200: 132 SMs, 4.3 TB/s (±1 %).",
        facts=FACTS,
    )


@pytest.fixture
def changed_prompt(prompt: Prompt) -> Prompt:
    """Make the same prompt after somebody edited its template."""
    return dataclasses.replace(prompt, text=prompt.text + "\nBe brief.")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """Run a local server in the API's place, and a key for it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-the-test")
    # a proxy of the machine must not stand between the test and its own server
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ApiServer() as server:
        yield server
