"""What can be said of a source text without running it.

Does not cover honesty: a source that looks right here is still watched while it runs.
"""

from __future__ import annotations

import ast

from tritonexp.records import Status

# by which a module may bind a name that it does not spell as one
_BINDERS = frozenset({"globals", "locals", "vars", "setattr", "exec", "eval", "__import__", "sys"})
# of a value in a reason
SHOWN = 60


def check_source(source: str, entry_point: str, arguments: list[str]) -> tuple[Status, str] | None:
    """Why a source cannot be a candidate, or None: syntax, entry point, its arguments' names."""
    tree = _parse(source)
    if isinstance(tree, str):
        return Status.SYNTAX_ERROR, tree
    try:
        reason = _why_not_callable(tree, entry_point, arguments)
    except RecursionError:
        # Python itself reads deeper than we walk: whoever imports it finds out
        return None
    return None if reason is None else (Status.MISSING_ENTRY_POINT, reason)


def _parse(source: str) -> ast.Module | str:
    """The tree of a source, or why there is none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        if "\0" in source:
            # of which the parser does not tell the place
            line = source.partition("\0")[0].count("\n") + 1
            return f"a null byte in line {line}"
        if isinstance(error, SyntaxError):
            return f"{error.msg} in line {error.lineno}"
        return str(error)
    except (MemoryError, RecursionError):
        # what the parser raises for its own stack, not for a machine that is out of memory
        return "the source is nested too deeply for Python's parser"


def _why_not_callable(tree: ast.Module, entry_point: str, arguments: list[str]) -> str | None:
    bindings = _Bindings(entry_point)
    bindings.visit(tree)
    bound = bindings.found
    if not bound:
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        there = ", ".join(defined) if defined else "none"
        return f"no function {entry_point!r} at the top level; there are {there}"
    if (value := _constant(tree, entry_point, bound)) is not None:
        return f"{entry_point} is {ast.unparse(value)[:SHOWN]}, and no function"
    # what decorators and later assignments make of a function is only known when it runs
    if len(bound) == 1 and isinstance(bound[0], ast.FunctionDef) and not bound[0].decorator_list:
        wanted = len(arguments)
        spec = bound[0].args
        positional = [*spec.posonlyargs, *spec.args]
        required = len(positional) - len(spec.defaults)
        if spec.vararg is None and not required <= wanted <= len(positional):
            takes = ", ".join(item.arg for item in positional)
            return f"{entry_point} takes ({takes}), not ({', '.join(arguments)})"
    return None


def _constant(tree: ast.Module, name: str, bound: list[ast.AST]) -> ast.Constant | None:
    """The constant that a name is for good; None where anything might still make it a function."""
    if len(bound) != 1 or any(
        (isinstance(node, ast.Global) and name in node.names)
        or (isinstance(node, ast.Name) and node.id in _BINDERS)
        for node in ast.walk(tree)
    ):
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and bound[0] in node.targets:
            return node.value if isinstance(node.value, ast.Constant) else None
    return None


class _Bindings(ast.NodeVisitor):
    """Finds what may bind a name in a module, in its blocks too, but not in its functions."""

    def __init__(self, name: str) -> None:
        self.found: list[ast.AST] = []
        self._name = name

    def _visit_definition(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> None:
        if node.name == self._name:
            self.found.append(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_definition  # noqa: N815 - ast's names

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Look no further: what it binds is its own."""

    def visit_Name(self, node: ast.Name) -> None:
        """Note an assignment."""
        if node.id == self._name and isinstance(node.ctx, ast.Store):
            self.found.append(node)

    def visit_alias(self, node: ast.alias) -> None:
        """Note an import; a star may bring anything."""
        if (node.asname or node.name) in (self._name, "*"):
            self.found.append(node)
