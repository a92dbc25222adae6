"""What can be read off a candidate's source without running it.

Only facts that the syntax tree holds: what a name is bound to at run time, what a helper of another
module does and whether a branch is ever taken are not covered.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tritonexp.report import syntax, tiles

# names that are habit in numerical code although they are one letter long
CONVENTIONAL_NAMES = frozenset("abcdhijkmnopqstvwxy_")
# smaller whole numbers are mostly axes, powers and warps rather than sizes
SMALLEST_SIZE = 32
LONGEST_LINE = 120
# functions of triton.language that take a tensor descriptor, and what they do with it
DESCRIPTOR_CALLS = {"load_tensor_descriptor": "load", "store_tensor_descriptor": "store"}


@dataclass(frozen=True, kw_only=True)
class KernelFacts:
    """One function that carries @triton.jit."""

    name: str
    line: int
    parameters: tuple[str, ...]
    configurations: int | None  # of @triton.autotune; None where it is not autotuned
    loads: int  # by pointers and by descriptors
    unguarded_loads: int  # neither mask nor boundary_check nor descriptor
    descriptor_loads: int  # as in a_desc.load([...]), which the hardware keeps in bounds
    stores: int
    unguarded_stores: int
    descriptor_stores: int
    loops: int
    language_calls: tuple[tuple[str, int], ...]  # as in ("max", 1), most frequent first
    casts: tuple[str, ...]  # as in float32
    size_literals: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CodeFacts:
    """A whole file."""

    lines: int
    code_lines: int  # neither blank nor only a comment
    comments: int
    kernels: tuple[KernelFacts, ...]
    functions: int  # at the top level, kernels included
    undocumented: tuple[str, ...]  # functions with neither a docstring nor a comment
    launches: tuple[str, ...]  # as in softmax_kernel[grid](...)
    launch_options: tuple[str, ...]  # as in num_warps=8
    blocks: tuple[str, ...]  # as in BLOCK_SIZE = triton.next_power_of_2(n_cols): see tiles
    torch_calls: tuple[str, ...]  # as in torch.empty_like
    equal_sizes: tuple[str, ...]  # as in n_cols == 4096: a special case for one size
    odd_names: tuple[str, ...]  # one letter, and not conventional
    faults: tuple[str, ...]  # bare except, star import, unused import, overlong line


def analyse(source: str) -> CodeFacts | None:
    """The facts of a source text; None where it does not parse."""
    try:
        tree = ast.parse(source)
    # a source can be nested too deeply for the parser
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    kernels = syntax.kernels(tree)
    comment_lines, code_lines = _lines_by_kind(source)
    launches = syntax.launches(tree, {node.name for node in kernels})
    modules = {name: syntax.aliases(tree, name) for name in (syntax.LANGUAGE, "triton", "torch")}
    return CodeFacts(
        lines=len(source.splitlines()),
        code_lines=len(code_lines),
        comments=len(comment_lines),
        kernels=tuple(_kernel_facts(node, modules) for node in kernels),
        functions=len(functions),
        undocumented=tuple(
            node.name
            for node in functions
            if ast.get_docstring(node) is None and not _commented(node, comment_lines)
        ),
        launches=tuple(f"{ast.get_source_segment(source, node.func)}(...)" for node in launches),
        launch_options=_unique(
            f"{word.arg}={ast.unparse(word.value)}"
            for node in launches
            for word in node.keywords
            if word.arg in {"num_warps", "num_stages", "num_ctas", "maxnreg"}
        ),
        blocks=tiles.blocks(tree),
        torch_calls=_unique(
            ast.unparse(node.func)
            for node in syntax.calls(tree)
            if ast.unparse(node.func).split(".")[0] in modules["torch"]
        ),
        equal_sizes=_unique(_equal_sizes(tree)),
        odd_names=_unique(_odd_names(tree)),
        faults=tuple(_faults(tree, source)),
    )


def _kernel_facts(node: ast.FunctionDef, modules: dict[str, set[str]]) -> KernelFacts:
    inner = [item for statement in node.body for item in ast.walk(statement)]
    calls = list(syntax.calls(node))
    language = modules[syntax.LANGUAGE]
    named = [
        (name, call) for call in calls if (name := syntax.member(call.func, language)) is not None
    ]
    loads = [call for name, call in named if name == "load"]
    stores = [call for name, call in named if name == "store"]
    by_descriptor = Counter(
        name for call in calls if (name := _descriptor_method(call, modules)) is not None
    )
    return KernelFacts(
        name=node.name,
        line=node.lineno,
        parameters=tuple(item.arg for item in syntax.parameters(node)),
        configurations=_configurations(node, modules["triton"]),
        loads=len(loads) + by_descriptor["load"],
        # the mask is the second positional argument of a load and the third of a store
        unguarded_loads=sum(not _guarded(call, 2) for call in loads),
        descriptor_loads=by_descriptor["load"],
        stores=len(stores) + by_descriptor["store"],
        unguarded_stores=sum(not _guarded(call, 3) for call in stores),
        descriptor_stores=by_descriptor["store"],
        loops=sum(isinstance(item, ast.For | ast.While) for item in inner),
        language_calls=tuple(Counter(name for name, _ in named).most_common()),
        casts=_unique(
            ast.unparse(call.args[0]).rpartition(".")[2]
            for call in calls
            if isinstance(call.func, ast.Attribute)
            and call.func.attr == "to"
            and len(call.args) == 1
        ),
        size_literals=tuple(
            sorted(
                {
                    item.value
                    for item in inner
                    if isinstance(item, ast.Constant)
                    and type(item.value) is int
                    and item.value >= SMALLEST_SIZE
                }
            )
        ),
    )


def _descriptor_method(call: ast.Call, modules: dict[str, set[str]]) -> str | None:
    """What a call does, load or store, where it is that of a tensor descriptor."""
    if syntax.member(call.func, modules[syntax.LANGUAGE]) in DESCRIPTOR_CALLS:
        return DESCRIPTOR_CALLS[ast.unparse(call.func).rpartition(".")[2]]
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in {"load", "store"}:
        return None
    # a method of whatever is no module; a kernel has nothing else with such methods
    is_module = ast.unparse(call.func.value) in set().union(*modules.values())
    return None if is_module else call.func.attr


def _configurations(node: ast.FunctionDef, triton: set[str]) -> int | None:
    for item in node.decorator_list:
        if isinstance(item, ast.Call) and syntax.member(item.func, triton) == "autotune":
            return sum(
                isinstance(part, ast.Call) and syntax.member(part.func, triton) == "Config"
                for part in ast.walk(item)
            )
    return None


def _guarded(call: ast.Call, positions: int) -> bool:
    return len(call.args) >= positions or any(
        word.arg in {"mask", "boundary_check"} for word in call.keywords
    )


def _equal_sizes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq) for op in node.ops):
            sides = [node.left, *node.comparators]
            if any(
                isinstance(side, ast.Constant)
                and type(side.value) is int
                and side.value >= SMALLEST_SIZE
                for side in sides
            ):
                yield ast.unparse(node)


def _odd_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            continue
        if len(name) == 1 and name.lower() not in CONVENTIONAL_NAMES:
            yield name


def _faults(tree: ast.Module, source: str) -> Iterator[str]:
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"a bare except in line {node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            for item in node.names:
                bound = (item.asname or item.name).split(".")[0]
                if item.name == "*":
                    yield f"a star import in line {node.lineno}"
                elif bound not in used and getattr(node, "module", "") != "__future__":
                    yield f"{item.asname or item.name} is imported and not used"
    long_lines = [
        number for number, line in enumerate(source.splitlines(), 1) if len(line) > LONGEST_LINE
    ]
    if long_lines:
        yield f"{len(long_lines)} of its lines are longer than {LONGEST_LINE} characters"


def _lines_by_kind(source: str) -> tuple[set[int], set[int]]:
    """Numbers of the lines that hold a comment, and of those that hold code."""
    comments, code = set(), set()
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in layout:
            code |= set(range(token.start[0], token.end[0] + 1))
    return comments, code


def _commented(node: ast.FunctionDef, comment_lines: set[int]) -> bool:
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    # a comment right above the function counts as well
    return any(first - 1 <= line <= (node.end_lineno or first) for line in comment_lines)


def _unique(texts: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
