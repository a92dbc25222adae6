"""Dollars of one completion from its tokens and the settings' prices.

Prices and factors: https://platform.claude.com/docs/en/about-claude/pricing
Not covered: batches, other regions, and prices that step up with the length of the prompt.
"""

from tritonexp.records import Usage

# a write into the five-minute cache, in input prices; the same for every model
CACHE_WRITE_FACTOR = 1.25
TOKENS_PER_MTOK = 1_000_000


def cost_usd(
    usage: Usage, input_usd_per_mtok: float | None, output_usd_per_mtok: float | None
) -> float | None:
    """Price a completion; None where a price is unknown.

    Input tokens do not include the cached ones, output tokens do include thinking. A cache read
    costs 0.1 of the input price for some models, but 0.05 or 0.025 for others, so a completion
    with cache reads has no known cost; our requests ask for no caching.
    """
    if input_usd_per_mtok is None or output_usd_per_mtok is None or usage.cache_read_tokens:
        return None
    input_equivalent = usage.input_tokens + CACHE_WRITE_FACTOR * (usage.cache_write_tokens or 0)
    return (
        input_equivalent * input_usd_per_mtok + usage.output_tokens * output_usd_per_mtok
    ) / TOKENS_PER_MTOK
