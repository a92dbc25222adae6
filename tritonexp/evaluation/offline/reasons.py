"""What an error of an untrusted file says: on one line as a reason, and in full for the log."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from tritonexp.evaluation import sandbox

MAX_REASON_CHARS = 500


def chain(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to its causes."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def one_line(error: BaseException) -> str:
    """Put an error's kind and what it says on one line."""
    if isinstance(error, SystemExit):
        return f"SystemExit: it calls sys.exit({error.code!r})"
    # the root of a compilation error names the line; those above it repeat the source
    roots = [link for link in chain(error) if type(link).__module__.startswith("triton")]
    chosen = roots[-1] if roots else error
    lines = [line.strip() for line in str(chosen).splitlines() if line.strip()]
    # Triton prints the kernel up to the line, a caret under the place, then what is wrong
    carets = [number for number, line in enumerate(lines) if not line.strip("^")]
    if carets and carets[-1] > 0:
        told = " ".join(lines[carets[-1] + 1 :]) or "not allowed here"
        lines = [f"{told}, in the line {lines[carets[-1] - 1]!r}"]
    text = ": ".join([type(chosen).__name__, *([" ".join(lines)] if lines else [])])
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 3]}..."


def in_full(error: BaseException) -> str:
    """Give the end of its traceback."""
    return "".join(traceback.format_exception(error))[-sandbox.LOG_BYTES :]
