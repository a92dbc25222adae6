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
    """Names of the functions that a source makes Triton kernels of, wherever they are defined.

    A source that cannot be parsed has none. A decorator called jit counts unless an import says
    that it is another package's.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        # check_source is what tells of it
        return frozenset()
    imported = _imports(tree)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            if any(_is_jit(decorator, imported) for decorator in node.decorator_list):
                names.add(node.name)
        # made without a decorator
        elif isinstance(node, ast.Call) and _is_jit(node.func, imported):
            names.update(item.id for item in node.args if isinstance(item, ast.Name))
    return frozenset(names)


def _imports(tree: ast.Module) -> dict[str, set[str]]:
    """What each imported name may stand for; imports in functions and branches count alike."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                # without "as", a submodule's import binds its package
                top = item.name.partition(".")[0]
                name, path = (item.asname, item.name) if item.asname else (top, top)
                found.setdefault(name, set()).add(path)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for item in node.names:
                # of all that a star may bring, only this name matters here
                original = "jit" if item.name == "*" else item.name
                found.setdefault(item.asname or original, set()).add(f"{module}.{original}")
    return found


def _is_jit(node: ast.expr, imported: dict[str, set[str]]) -> bool:
    if isinstance(node, ast.Call):
        node = node.func
    trail: list[str] = []
    while isinstance(node, ast.Attribute):
        trail.insert(0, node.attr)
        node = node.value
    root = node.id if isinstance(node, ast.Name) else ""
    if root not in imported:
        return [root, *trail][-1] == "jit"
    paths = [".".join([origin, *trail]) for origin in imported[root]]
    return any(path.startswith("triton.") and path.endswith(".jit") for path in paths)
