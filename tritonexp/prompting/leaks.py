"""Refuse a text that holds a line of a source which the model must not see.

Lines are compared token by token, so that spacing, quotes, wrapping and Markdown around the code
do not hide a line. Lines that say nothing of how the work is done are passed over: imports,
comments, docstrings, bare names and parameter declarations, and whatever is short or stands in
the baseline as well.

Does not cover code whose names were changed, and advice in words.
"""

import io
import re
import tokenize
from collections.abc import Iterator, Mapping

from tritonexp.errors import PromptError, PromptLeakError

# shorter lines, such as a mask, are written alike by anyone
MIN_CODE_CHARACTERS = 20

_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def refuse_leaks(text: str, allowed: str, guarded: Mapping[str, str], *, prompt: str) -> None:
    """Raise PromptLeakError at a significant line of a guarded source that the text holds.

    Lines that `allowed` holds do not count. A guarded source that is no Python is a PromptError.
    """
    shown, free = _padded(text), _padded(allowed)
    for file, source in guarded.items():
        for number, line in significant_lines(source, file):
            wanted = _padded(line)
            if wanted in shown and wanted not in free:
                raise PromptLeakError(
                    f"the prompt {prompt!r} holds line {number} of {file}, which the model must"
                    f" not see: {line!r}. Remove it from the templates in"
                    " tritonexp/prompting/templates."
                )


def significant_lines(source: str, file: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, code) of physical lines and whole statements that say how work is done.

    A statement over several lines counts as a whole too, since it may be shown on one line.
    """
    for statement in _statements(source, file):
        if statement[0].string in {"import", "from"}:
            continue
        if all(token.type == tokenize.STRING for token in statement):
            continue
        rows: dict[int, list[str]] = {}
        for token in statement:
            rows.setdefault(token.start[0], []).append(token.string)
        lines = [(row, " ".join(code)) for row, code in rows.items()]
        if len(lines) > 1:
            lines.append((statement[0].start[0], " ".join(token.string for token in statement)))
        yield from ((row, line) for row, line in lines if _is_significant(line))


def _statements(source: str, file: str) -> Iterator[list[tokenize.TokenInfo]]:
    statement: list[tokenize.TokenInfo] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NEWLINE:
                yield statement
                statement = []
            elif token.type not in _LAYOUT:
                statement.append(token)
    except (tokenize.TokenError, SyntaxError) as error:
        # a guard that cannot read what it guards must not pass
        raise PromptError(
            f"the guarded source {file} cannot be read as Python ({error}), so a prompt cannot be"
            " checked against it; repair the file or reinstall the expert's package."
        ) from error


def _is_significant(line: str) -> bool:
    # without a call or an assignment it is a list of names, such as parameters
    says_something = "(" in line or "=" in line
    return says_something and len(re.sub(r"\s", "", line)) >= MIN_CODE_CHARACTERS


def _padded(code: str) -> str:
    """Put single spaces around all tokens, with quotes of one kind and no comma at the end."""
    tokens = re.findall(r"\w+|[^\w\s]", code.replace("'", '"'))
    while tokens and tokens[-1] == ",":
        tokens.pop()
    return f" {' '.join(tokens)} "
