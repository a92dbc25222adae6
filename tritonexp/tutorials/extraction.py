"""What one function needs of a file that also runs itself, with every line where it was.

The text is read and never run. A statement at the top level is kept if it binds a needed name and
is an import, a definition with its decorators, an assignment, or an `if` or `try` around nothing
else; what it needs in turn is kept too. All other lines become blank, tests, benchmarks and
comments between statements among them, so that those which are kept have their own numbers.

Does not cover what is needed without being named: a call at the top level that sets something up,
an item that is stored into a dictionary, `from module import *`.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tritonexp.errors import ExpertError

_KEPT = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.Pass,
)


@dataclass(frozen=True)
class _Statement:
    """A statement at the top level."""

    lines: range
    binds: frozenset[str]
    needs: frozenset[str]
    can_be_kept: bool
    is_future: bool


def reduced(text: str, entry: str, where: str) -> str:
    """The lines of `text` that the code `entry` needs, and blank ones for the rest.

    `where` is the file's name in messages. Raises ExpertError where the text is no Python, or
    lacks what is needed.
    """
    try:
        statements = [_statement(node) for node in ast.parse(text).body]
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ExpertError(
            f"{where} is no Python file: {reason}{line}. Name an official tutorial of Triton with"
            " expert.path."
        ) from error
    kept = _kept(statements, _needs_of(symtable.symtable(entry, "entry", "exec")), where)
    numbers = {number for statement in kept for number in statement.lines}
    for statement in statements:
        if statement not in kept and not numbers.isdisjoint(statement.lines):
            raise ExpertError(
                f"line {statement.lines[0]} of {where} holds a statement that is needed and one"
                " that is not, so they cannot be told apart by lines; write them on two."
            )
    return "\n".join(
        line if number in numbers else "" for number, line in enumerate(text.split("\n"), start=1)
    )


def _kept(
    statements: list[_Statement], wanted: frozenset[str], where: str
) -> frozenset[_Statement]:
    """The statements that the wanted names need, directly or not."""
    kept = {statement for statement in statements if statement.is_future}
    queue = deque(sorted(wanted))
    seen = set(wanted)
    while queue:
        name = queue.popleft()
        binding = [statement for statement in statements if name in statement.binds]
        usable = [statement for statement in binding if statement.can_be_kept]
        if binding and not usable:
            raise ExpertError(
                f"line {binding[0].lines[0]} of {where} makes {name!r}, which is needed, in a"
                " statement that may also test or measure; only imports, definitions and"
                " assignments are taken over. Name an official tutorial of Triton with"
                " expert.path."
            )
        if not usable and name in wanted and not hasattr(builtins, name):
            raise ExpertError(
                f"{where} defines no {name!r}, which expert=tutorial calls. Name the official"
                " tutorial of this operation with expert.path, or the folder that holds it."
            )
        kept.update(usable)
        new = frozenset[str]().union(*(statement.needs for statement in usable)) - seen
        seen |= new
        queue.extend(sorted(new))
    return frozenset(kept)


def _statement(node: ast.stmt) -> _Statement:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(item.lineno for item in decorators)])
    # by itself, and so as at the top level of a file that holds nothing else
    table = symtable.symtable(ast.unparse(node), "statement", "exec")
    return _Statement(
        lines=range(first, (node.end_lineno or node.lineno) + 1),
        binds=frozenset(
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_assigned() or symbol.is_imported()
        ),
        needs=_needs_of(table),
        can_be_kept=_can_be_kept(node),
        is_future=isinstance(node, ast.ImportFrom) and node.module == "__future__",
    )


def _can_be_kept(node: ast.stmt) -> bool:
    if isinstance(node, ast.If):
        return all(map(_can_be_kept, [*node.body, *node.orelse]))
    if isinstance(node, ast.Try):
        caught = [item for handler in node.handlers for item in handler.body]
        return all(map(_can_be_kept, [*node.body, *caught, *node.orelse, *node.finalbody]))
    return isinstance(node, _KEPT)


def _needs_of(table: symtable.SymbolTable) -> frozenset[str]:
    """The names of the file that code at its top level uses, in its functions too."""
    own = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    inner = {
        symbol.get_name()
        for scope in _scopes_in(table)
        for symbol in scope.get_symbols()
        if symbol.is_global()
    }
    return frozenset(own | inner)


def _scopes_in(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _scopes_in(child)
