"""Look-ups in a syntax tree that several readers of a source share."""

from __future__ import annotations

import ast
from collections.abc import Iterator

LANGUAGE = "triton.language"


def aliases(tree: ast.Module, module: str) -> set[str]:
    """The names under which a module, or a member of one, is used in the file."""
    parent, _, member = module.rpartition(".")
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {item.asname or item.name for item in node.names if item.name == module}
        elif isinstance(node, ast.ImportFrom) and node.module == parent and parent:
            found |= {item.asname or item.name for item in node.names if item.name == member}
    return found


def kernels(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions that carry @triton.jit."""
    names = {f"{alias}.jit" for alias in aliases(tree, "triton")} | aliases(tree, "triton.jit")
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return [node for node in functions if _is_decorated(node, names)]


def launches(tree: ast.Module, names: set[str]) -> list[ast.Call]:
    """The calls that launch kernels of these names, as in softmax_kernel[grid](...)."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Subscript)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in names
    ]


def parameters(node: ast.FunctionDef) -> list[ast.arg]:
    """All but * and **, in their order."""
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls below a node; of a function, those in its body."""
    parts = node.body if isinstance(node, ast.FunctionDef) else [node]
    return (item for part in parts for item in ast.walk(part) if isinstance(item, ast.Call))


def member(function: ast.expr, modules: set[str]) -> str | None:
    """The name of a module's member that an expression is; None for anything else."""
    parent, _, name = ast.unparse(function).rpartition(".")
    return name if parent in modules else None


def names_in(*nodes: ast.AST) -> set[str]:
    """The names that are read in expressions."""
    return {item.id for node in nodes for item in ast.walk(node) if isinstance(item, ast.Name)}


def assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What single names are set to below a node, each time."""
    for item in ast.walk(node):
        targets = item.targets if isinstance(item, ast.Assign) else []
        if isinstance(item, ast.AnnAssign) and item.value is not None:
            targets = [item.target]
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, item.value


def _is_decorated(node: ast.FunctionDef, names: set[str]) -> bool:
    plain = (item.func if isinstance(item, ast.Call) else item for item in node.decorator_list)
    return any(ast.unparse(item) in names for item in plain)
