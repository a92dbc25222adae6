"""Figures, intervals and verdicts as text, and tables as Markdown.

One rule for all: None is "-", and an interval has as many decimals as its estimate.
"""

import re
from collections.abc import Iterable, Sequence

from tritonexp.records import Comparison, Interval, Timing

MISSING = "-"
# "0.9x slower" alone could be taken for slower by 0.9
RATIO_RULE = "A ratio above 1x means that the first is faster, below 1x that it is slower."


def number(value: float | None, decimals: int) -> str:
    """A figure with thousands separators, or "-"."""
    # what is rounded to nothing has no sign
    return MISSING if value is None else f"{round(value, decimals) + 0.0:,.{decimals}f}"


def time_us(value: float | None, interval: Interval | None = None) -> str:
    """Microseconds without the unit, as in 35.5 [35.3, 35.8]."""
    decimals = _time_decimals(value)
    if interval is None:
        return number(value, decimals)
    return f"{number(value, decimals)} {span(interval, decimals)}"


def timing(item: Timing | None, mark: str = "") -> str:
    """A median with its interval, or "-"."""
    return MISSING if item is None else time_us(item.median_us, item.interval_us) + mark


def span(interval: Interval, decimals: int) -> str:
    """An interval, as in [35.3, 35.8]."""
    return f"[{number(interval.low, decimals)}, {number(interval.high, decimals)}]"


def extent(values: Sequence[float]) -> str:
    """The lowest and the highest without decimals, as in 1,755 to 1,980; one where they agree."""
    ends = dict.fromkeys(number(end, 0) for end in (min(values), max(values)))
    return " to ".join(ends)


def ratio(value: float | None, interval: Interval | None = None) -> str:
    """A speed-up, as in 1.023x [1.010, 1.034]."""
    if value is None:
        return MISSING
    decimals = _ratio_decimals(value)
    text = f"{number(value, decimals)}x"
    return text if interval is None else f"{text} {span(interval, decimals)}"


def verdict(item: Comparison | None) -> str:
    """A speed-up with its interval and its word, as in 1.004x [0.996, 1.011] (tie); or "-"."""
    if item is None:
        return MISSING
    if item.speedup is None:
        return f"{MISSING} ({item.outcome.value})"
    return f"{ratio(item.speedup, item.interval)} ({item.outcome.value})"


def factor(value: float) -> str:
    """How many times something is another, with two significant digits."""
    return f"{value:.2g}" if value < 10 else number(value, 0)  # noqa: PLR2004


def fraction(value: float | None) -> str:
    """A part of a whole with two decimals."""
    return number(value, 2)


def percent(value: float | None) -> str:
    """A part of a whole in per cent, without needless zeros."""
    return MISSING if value is None else f"{100 * value:.3g} %"


def ulp(value: float | None) -> str:
    """An error in units in the last place, with two significant digits where it is small."""
    if value is None:
        return MISSING
    return f"{value:.2f}" if value < 1000 else f"{value:.3g}"  # noqa: PLR2004


def dollars(value: float | None) -> str:
    """A cost; a recorded response has none."""
    return MISSING if value is None else f"${value:.4f}"


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return number(value, 0)


def size_bytes(value: int | None) -> str:
    """Bytes in the largest binary unit that leaves at least one."""
    if value is None:
        return MISSING
    amount, units = float(value), ("B", "KiB", "MiB", "GiB")
    for unit in units:
        if amount < 1024 or unit == units[-1]:  # noqa: PLR2004
            return f"{amount:,.0f} {unit}" if amount == int(amount) else f"{amount:,.1f} {unit}"
        amount /= 1024
    raise AssertionError  # the last unit always returns


def day(moment: str) -> str:
    """The date of an ISO moment."""
    return moment[:10]


def plural(amount: int, noun: str) -> str:
    """As in 1 case, 2 cases."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def without_dashes(
    header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """A table's header and rows without the columns in which nothing but "-" stands."""
    if not rows:
        return header, rows
    kept = [place for place in range(len(header)) if any(row[place] != MISSING for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; pipes and line breaks in cells are made harmless."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def fenced(text: str, language: str = "") -> str:
    """A Markdown code block that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _time_decimals(value: float | None) -> int:
    if value is None or value < 100:  # noqa: PLR2004
        return 2
    return 1 if value < 1000 else 0  # noqa: PLR2004


def _ratio_decimals(value: float) -> int:
    if value == 0:
        return 2
    # the tie margin is 1 %, so ratios near 1 need the third decimal
    for limit, decimals in ((0.1, 4), (2, 3), (10, 2), (100, 1)):
        if value < limit:
            return decimals
    return 0
