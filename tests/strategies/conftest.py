"""A prompt and a brief for the tests of strategies."""

import pytest

from tests.strategies.scripted import FACTS
from tritonexp.records import OperationBrief, Prompt


@pytest.fixture
def prompt() -> Prompt:
    """Make a rendered prompt."""
    return Prompt(name="baseline_only", components=("task",), text="Write softmax.", facts=FACTS)


@pytest.fixture
def brief() -> OperationBrief:
    """Describe softmax as a prompt may know it."""
    return OperationBrief(
        name="softmax",
        title="Row-wise softmax",
        pattern="fusion",
        entry_point="softmax",
        signature="softmax(x)",
        baseline_source="def softmax(x): ...",
        arguments=(),
        result="tensor [rows, cols]",
        dtypes=("float32",),
        shapes="any",
        precision="float32",
    )
