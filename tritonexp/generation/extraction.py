"""Take the candidate's source out of a model's Markdown answer.

A name counts as defined by a top-level def or assignment, also inside if and try. Not covered:
whether the source works, which is the referee's question, and code in indented blocks, in other
languages' fences or inside HTML.
"""

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator

# the first word of a fence's info string; "" is an untagged fence
_PYTHON_TAGS = frozenset({"python", "py", "python3"})
# a module has these without an import
_MODULE_NAMES = frozenset({*dir(builtins), "__name__", "__file__", "__doc__"})


def extract_code(completion_text: str, entry_point: str) -> str | None:
    """Find the source that is meant to define the entry point; None where the answer holds none.

    In this order: the last fenced block that defines it and every name it uses; all Python blocks
    joined, if they do; the last block that defines it at all; a bare answer that is Python; a block
    that tries to define it but does not parse, and Python blocks that define something else, which
    the referee then calls by their names (SYNTAX_ERROR, MISSING_ENTRY_POINT).
    """
    tagged, everything = _blocks(completion_text)
    # a block of Python beats one that might be anything
    for blocks in (tagged, everything):
        if (found := _complete(blocks, entry_point)) is not None:
            return found
    for blocks in (tagged, everything):
        if defining := [block for block in blocks if _defines(block, entry_point)]:
            return defining[-1]
    if not everything and _defines(completion_text, entry_point):
        return completion_text
    attempt = re.compile(
        rf"^[ \t]*(async[ \t]+)?def[ \t]+{re.escape(entry_point)}[ \t]*\(", re.MULTILINE
    )
    if attempts := [block for block in everything if attempt.search(block)]:
        return attempts[-1]
    return "\n".join(tagged) or None


def _blocks(text: str) -> tuple[list[str], list[str]]:
    """List the fenced blocks tagged as Python, and these with the untagged ones, as they come.

    An unclosed fence ends with the text.
    """
    from markdown_it import MarkdownIt

    tagged, everything = [], []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type != "fence" or not token.content.strip():
            continue
        tag = next(iter(token.info.split()), "").lower()
        if tag in _PYTHON_TAGS:
            tagged.append(token.content)
        if tag in _PYTHON_TAGS or not tag:
            everything.append(token.content)
    return tagged, everything


def _complete(blocks: list[str], entry_point: str) -> str | None:
    # joined: the kernel in one block, the wrapper in the next
    for source in (*reversed(blocks), "\n".join(blocks)):
        if _defines(source, entry_point) and not _undefined_names(source):
            return source
    return None


def _defines(source: str, name: str) -> bool:
    tree = _parse(source)
    return tree is not None and name in _bound(tree.body)


def _parse(source: str) -> ast.Module | None:
    with warnings.catch_warnings():
        # an invalid escape in a model's string is no business of the terminal
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
            # finds what the grammar allows and Python does not, such as an argument named twice
            compile(tree, "<answer>", "exec", dont_inherit=True)
        # the last three: null bytes, and nesting beyond the parser's depth
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return tree


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.Assign():
                for target in node.targets:
                    yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                yield name
            case ast.If():
                yield from _bound([*node.body, *node.orelse])
            case ast.Try():
                handlers = [statement for handler in node.handlers for statement in handler.body]
                yield from _bound([*node.body, *handlers, *node.orelse, *node.finalbody])


def _undefined_names(source: str) -> set[str]:
    """List the globals that a source uses and does not bind; a star import may bind any."""
    tree = _parse(source)
    if tree is None or any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in tree.body
    ):
        return set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = symtable.symtable(source, "<answer>", "exec")
    used, bound = set(), set(_MODULE_NAMES)
    for table in _tables(module):
        for symbol in table.get_symbols():
            outermost = table is module
            if symbol.is_referenced() and (outermost or symbol.is_global()):
                used.add(symbol.get_name())
            # a function binds a global where it declares it so
            if (symbol.is_assigned() or symbol.is_imported()) and (
                outermost or symbol.is_declared_global()
            ):
                bound.add(symbol.get_name())
    return used - bound


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)
