"""What can be said of a source text without running it.

Does not cover honesty: a source that looks right here is still watched while it runs.
"""

from __future__ import annotations

import ast

from tritonexp.records import Status


def check_source(source: str, entry_point: str, arguments: list[str]) -> tuple[Status, str] | None:
    """Why a source cannot be a candidate, or None: syntax, entry point, its arguments' names."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError):
            return Status.SYNTAX_ERROR, f"{error.msg} in line {error.lineno}"
        return Status.SYNTAX_ERROR, str(error)
    except (MemoryError, RecursionError):
        # what the parser raises for its own stack, not for a machine that is out of memory
        return Status.SYNTAX_ERROR, "the source is nested too deeply for Python's parser"
    bindings = _Bindings(entry_point)
    bindings.visit(tree)
    bound = bindings.found
    if not bound:
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        there = ", ".join(defined) if defined else "none"
        reason = f"no function {entry_point!r} at the top level; there are {there}"
        return Status.MISSING_ENTRY_POINT, reason
    # what decorators and later assignments make of a function is only known when it runs
    if len(bound) == 1 and isinstance(bound[0], ast.FunctionDef) and not bound[0].decorator_list:
        wanted = len(arguments)
        spec = bound[0].args
        positional = [*spec.posonlyargs, *spec.args]
        required = len(positional) - len(spec.defaults)
        if spec.vararg is None and not required <= wanted <= len(positional):
            takes = ", ".join(item.arg for item in positional)
            reason = f"{entry_point} takes ({takes}), not ({', '.join(arguments)})"
            return Status.MISSING_ENTRY_POINT, reason
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
