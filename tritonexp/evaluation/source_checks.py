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
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry_point
    ]
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if not found and entry_point not in assigned:
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        there = ", ".join(defined) if defined else "none"
        reason = f"no function {entry_point!r} at the top level; there are {there}"
        return Status.MISSING_ENTRY_POINT, reason
    if found:
        wanted = len(arguments)
        spec = found[-1].args
        positional = [*spec.posonlyargs, *spec.args]
        required = len(positional) - len(spec.defaults)
        if spec.vararg is None and not required <= wanted <= len(positional):
            takes = ", ".join(item.arg for item in positional)
            reason = f"{entry_point} takes ({takes}), not ({', '.join(arguments)})"
            return Status.MISSING_ENTRY_POINT, reason
    return None


def triton_kernels(source: str) -> frozenset[str]:
    """Names of the functions that a source makes Triton kernels of, wherever they are defined."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and any(map(_is_jit, node.decorator_list)):
            names.add(node.name)
        # made without a decorator
        if isinstance(node, ast.Call) and _is_jit(node.func):
            names.update(item.id for item in node.args if isinstance(item, ast.Name))
    return frozenset(names)


def _is_jit(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        node = node.func
    return (isinstance(node, ast.Attribute) and node.attr == "jit") or (
        isinstance(node, ast.Name) and node.id == "jit"
    )
