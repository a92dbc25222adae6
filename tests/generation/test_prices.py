"""Dollars from tokens."""

import pytest

from tritonexp.generation.prices import cost_usd
from tritonexp.records import Usage


def usage(cache_read: int | None = None, cache_write: int | None = None) -> Usage:
    """Count a million tokens in and half a million out."""
    return Usage(
        input_tokens=1_000_000,
        output_tokens=500_000,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        thinking_tokens=400_000,
    )


def test_thinking_is_paid_once_as_output() -> None:
    """Thinking tokens are among the output tokens already."""
    assert cost_usd(usage(), 4.0, 20.0) == pytest.approx(14.0)


def test_cache_writes_cost_a_quarter_more_than_input() -> None:
    """A million written tokens add 1.25 input prices."""
    assert cost_usd(usage(cache_write=1_000_000), 4.0, 20.0) == pytest.approx(19.0)


def test_cache_reads_have_no_known_price() -> None:
    """Their factor differs by model, so the cost is unknown rather than wrong."""
    assert cost_usd(usage(cache_read=1), 4.0, 20.0) is None
    assert cost_usd(usage(cache_read=0), 4.0, 20.0) is not None


@pytest.mark.parametrize(("input_usd", "output_usd"), [(None, 20.0), (4.0, None)])
def test_missing_price_gives_no_cost(input_usd: float | None, output_usd: float | None) -> None:
    """Half a price is none."""
    assert cost_usd(usage(), input_usd, output_usd) is None


def test_free_model_costs_nothing_rather_than_unknown() -> None:
    """A price of zero, as of a local server, is a price."""
    assert cost_usd(usage(), 0.0, 0.0) == 0.0
