"""The block sizes of a file's kernels, by what they are used for rather than by their names.

A block size is a tl.constexpr parameter, or a global name, that a kernel hands to tl.arange or uses
as the extent of a tile, itself or by way of a local name or of another @triton.jit function. Its
value is what a launch or an autotuner gives, as it is written.

Does not cover values that are handed over by position, through ** or to a kernel that another file
launches: such a block size stands there by its name alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tritonexp.report import syntax

# functions of triton.language with the place and the name of the argument that holds tile extents
EXTENTS = {
    "zeros": (0, "shape"),
    "full": (0, "shape"),
    "make_tensor_descriptor": (3, "block_shape"),
    "make_block_ptr": (4, "block_shape"),
}
# on the host, with the place of the block's shape
DESCRIPTORS = {"TensorDescriptor": 3, "TensorDescriptor.from_tensor": 1}
MOST_VALUES = 6


def blocks(tree: ast.Module) -> tuple[str, ...]:
    """The block sizes of a file, as in BLOCK_SIZE = triton.next_power_of_2(n_cols); each once."""
    kernels = syntax.kernels(tree)
    extents = _extents(kernels, syntax.aliases(tree, syntax.LANGUAGE))
    found: dict[str, dict[str, None]] = {}
    for kernel in kernels:
        if not _is_helper(kernel, kernels, tree):
            for name in _names(kernel, extents[kernel.name]):
                found.setdefault(name, {}).update(dict.fromkeys(_values(kernel, name, tree)))
    for name, value in syntax.assigned(ast.Module(_outside(tree, kernels), [])):
        if any(name in names for names in extents.values()) and name not in found:
            found[name] = {_value_text(value): None}
    texts = [text for name, values in found.items() for text in _texts(name, values)]
    return tuple(dict.fromkeys([*texts, *_written_out(kernels, tree), *_on_host(tree)]))


def _extents(kernels: list[ast.FunctionDef], language: set[str]) -> dict[str, set[str]]:
    """By kernel, the names whose values are extents; those handed to another kernel's included."""
    found = {
        kernel.name: syntax.names_in(
            *(item for call in syntax.calls(kernel) for item in _sizes_in(call, language))
        )
        for kernel in kernels
    }
    by_name = {kernel.name: kernel for kernel in kernels}
    while True:
        before = sum(map(len, found.values()))
        for kernel in kernels:
            own = found[kernel.name]
            for name, value in syntax.assigned(kernel):
                if name in own:
                    own |= syntax.names_in(value)
            for call in syntax.calls(kernel):
                if isinstance(call.func, ast.Name) and call.func.id in by_name:
                    given = _given(call, by_name[call.func.id])
                    own |= syntax.names_in(
                        *(given[name] for name in found[call.func.id] if name in given)
                    )
        if sum(map(len, found.values())) == before:
            return found


def _sizes_in(call: ast.Call, language: set[str]) -> list[ast.expr]:
    name = syntax.member(call.func, language)
    if name == "arange":
        return [*call.args, *(word.value for word in call.keywords)]
    if name not in EXTENTS:
        return []
    place, keyword = EXTENTS[name]
    return [
        *call.args[place : place + 1],
        *(word.value for word in call.keywords if word.arg == keyword),
    ]


def _given(call: ast.Call, function: ast.FunctionDef) -> dict[str, ast.expr]:
    """What a call hands to a function's parameters, by their names."""
    names = [item.arg for item in syntax.parameters(function)]
    given = dict(zip(names, call.args, strict=False))
    return given | {word.arg: word.value for word in call.keywords if word.arg is not None}


def _names(kernel: ast.FunctionDef, extents: set[str]) -> list[str]:
    """The constexpr parameters among the names."""
    return [
        item.arg
        for item in syntax.parameters(kernel)
        if item.arg in extents
        and item.annotation is not None
        and ast.unparse(item.annotation).strip("'\"").endswith("constexpr")
    ]


def _is_helper(kernel: ast.FunctionDef, kernels: list[ast.FunctionDef], tree: ast.Module) -> bool:
    """Whether it is only called by other kernels, which have its block sizes from a launch."""
    if syntax.launches(tree, {kernel.name}):
        return False
    return any(
        isinstance(call.func, ast.Name) and call.func.id == kernel.name
        for other in kernels
        for call in syntax.calls(other)
    )


def _values(kernel: ast.FunctionDef, name: str, tree: ast.Module) -> Iterator[str]:
    for decorator in kernel.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == name:
                        yield ast.unparse(value)
    for call in syntax.launches(tree, {kernel.name}):
        for word in call.keywords:
            if word.arg == name:
                yield _meaning(word.value, _scope(call, tree))


def _scope(call: ast.Call, tree: ast.Module) -> ast.AST:
    """The innermost function that a call stands in."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any(item is call for item in ast.walk(node))
    ]
    # outer ones are walked first
    return around[-1] if around else tree


def _meaning(value: ast.expr, scope: ast.AST) -> str:
    """An expression, or what a name stands for where it is bound once."""
    text = ast.unparse(value)
    bound = [
        node
        for node in ast.walk(scope)
        if (isinstance(node, ast.arg) and node.arg == text)
        or (isinstance(node, ast.Name) and node.id == text and isinstance(node.ctx, ast.Store))
    ]
    set_to = [ast.unparse(item) for name, item in syntax.assigned(scope) if name == text]
    return set_to[0] if len(bound) == len(set_to) == 1 else text


def _outside(tree: ast.Module, kernels: list[ast.FunctionDef]) -> list[ast.stmt]:
    """The statements at the top level that define neither function nor class."""
    return [
        node
        for node in tree.body
        if node not in kernels and not isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]


def _value_text(value: ast.expr) -> str:
    """What a global stands for, without the constexpr around it."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("constexpr"):
        return ", ".join(map(ast.unparse, value.args))
    return ast.unparse(value)


def _texts(name: str, values: Iterable[str]) -> Iterator[str]:
    """As in BM = 64 or 128, BM = rows // 2, and the name alone where no value is written."""
    told = [value for value in values if value != name]
    figures = [value for value in told if value.isdigit()]
    if not told:
        yield name
    if figures:
        more = " or ..." if len(figures) > MOST_VALUES else ""
        yield f"{name} = {' or '.join(figures[:MOST_VALUES])}{more}"
    yield from (f"{name} = {value}" for value in told if not value.isdigit())


def _written_out(kernels: list[ast.FunctionDef], tree: ast.Module) -> Iterator[str]:
    """Ranges whose extent is a figure."""
    language = syntax.aliases(tree, syntax.LANGUAGE)
    for kernel in kernels:
        for call in syntax.calls(kernel):
            sizes = _sizes_in(call, language)
            if syntax.member(call.func, language) == "arange" and not syntax.names_in(*sizes):
                yield ast.unparse(call)


def _on_host(tree: ast.Module) -> Iterator[str]:
    for call in syntax.calls(tree):
        place = next((place for name, place in DESCRIPTORS.items() if _ends(call.func, name)), None)
        if place is None:
            continue
        shapes = [
            *call.args[place : place + 1],
            *(word.value for word in call.keywords if word.arg == "block_shape"),
        ]
        yield from (f"block_shape = {ast.unparse(shape)}" for shape in shapes)


def _ends(function: ast.expr, name: str) -> bool:
    return f".{ast.unparse(function)}".endswith(f".{name}")
