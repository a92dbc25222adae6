"""Code out of Markdown answers."""

import ast
import textwrap

import pytest

from tritonexp.generation import extract_code

IMPORTS = "import torch\nimport triton\nimport triton.language as tl\n"
KERNEL = "@triton.jit\ndef softmax_kernel(x_ptr, N: tl.constexpr):\n    pass\n"
WRAPPER = "def softmax(x):\n    softmax_kernel[(1,)](x, N=4)\n    return x\n"
WHOLE = f"{IMPORTS}\n{KERNEL}\n{WRAPPER}"


def fence(code: str, tag: str = "python", marks: str = "```") -> str:
    """Put code into a fenced block."""
    return f"{marks}{tag}\n{code}{marks}\n"


@pytest.mark.parametrize("tag", ["python", "py", "", "Python", "python3", 'python title="a.py"'])
def test_block_that_defines_the_entry_point_is_found(tag: str) -> None:
    """Python tags in their usual spellings, and none, are read."""
    assert extract_code(f"Here it is.\n\n{fence(WHOLE, tag)}\nEnjoy!", "softmax") == WHOLE


def test_block_in_a_list_loses_its_indentation() -> None:
    """A fence inside a list item is dedented as Markdown says."""
    answer = "1. The kernel:\n\n" + textwrap.indent(fence(WHOLE), "   ") + "\n2. Done.\n"
    assert extract_code(answer, "softmax") == WHOLE


def test_fence_of_tildes_may_hold_backticks() -> None:
    """A docstring with a fence of its own does not end the block."""
    code = f'{WHOLE}\n"""\n```\nusage\n```\n"""\n'
    assert extract_code(fence(code, marks="~~~~"), "softmax") == code


def test_windows_line_ends_are_read() -> None:
    """An answer with CRLF gives the code with plain line ends."""
    assert extract_code(fence(WHOLE).replace("\n", "\r\n"), "softmax") == WHOLE


def test_last_complete_block_wins() -> None:
    """A corrected version after a first one is the answer."""
    better = WHOLE.replace("N=4", "N=8")
    answer = f"{fence(WHOLE)}\nOn second thought:\n{fence(better)}"
    assert extract_code(answer, "softmax") == better


def test_usage_example_does_not_shadow_the_kernel() -> None:
    """A later block that only imports and calls the entry point does not define it."""
    usage = "from mykernel import softmax\n\ny = softmax(x)\n"
    assert extract_code(fence(WHOLE) + "\n" + fence(usage), "softmax") == WHOLE


def test_later_block_that_lacks_its_kernel_does_not_win() -> None:
    """A block that repeats only the wrapper is not complete, the earlier whole file is."""
    answer = f"{fence(WHOLE)}\nThe wrapper alone:\n{fence(WRAPPER)}"
    assert extract_code(answer, "softmax") == WHOLE


@pytest.mark.parametrize(
    "extra",
    [
        "def count():\n    global CALLS\n    CALLS = 1\n\n\nprint(CALLS)\n",
        "from triton.language import *\n\nprint(arange)\n",
        "for row in range(3):\n    print(row, __name__, [i for i in range(row)])\n",
        "try:\n    import numpy as np\nexcept ImportError:\n    np = None\nprint(np)\n",
        "class A:\n    b = 1\n\n    def c(self, d=len):\n        return lambda e: (self, d, e)\n",
    ],
)
def test_names_bound_in_any_way_leave_a_block_complete(extra: str) -> None:
    """What Python would find at run time is not taken for missing."""
    whole = WHOLE + extra
    assert extract_code(f"{fence(whole)}\nThe wrapper alone:\n{fence(WRAPPER)}", "softmax") == whole


def test_kernel_and_wrapper_in_two_blocks_are_joined() -> None:
    """Where no block is complete, all Python blocks together may be."""
    answer = f"{fence(IMPORTS + KERNEL)}\nand the wrapper:\n{fence(WRAPPER)}"
    source = extract_code(answer, "softmax")
    assert source is not None
    assert source.index("softmax_kernel") < source.index("def softmax(")
    ast.parse(source)


def test_shell_blocks_are_never_joined() -> None:
    """Other languages' blocks are left out, even of the joined source."""
    answer = fence("pip install triton\n", "bash") + fence(IMPORTS + KERNEL) + fence(WRAPPER)
    source = extract_code(answer, "softmax")
    assert source is not None
    assert "pip" not in source


def test_tagged_block_beats_an_untagged_one() -> None:
    """An untagged block after the code, such as its output, does not win."""
    other = "def softmax(x):\n    return x\n"
    assert extract_code(fence(WHOLE) + "\n" + fence(other, ""), "softmax") == WHOLE


def test_untagged_kernel_completes_a_tagged_wrapper() -> None:
    """A forgotten tag on one of two blocks does not lose its half."""
    source = extract_code(fence(IMPORTS + KERNEL, "") + "\n" + fence(WRAPPER), "softmax")
    assert source is not None
    assert source.index("import triton") < source.index("def softmax(")


def test_only_definition_is_taken_even_if_incomplete() -> None:
    """A block that uses an unknown name still is the answer; running it will tell."""
    assert extract_code(fence(WRAPPER), "softmax") == WRAPPER


def test_assignment_defines_the_entry_point() -> None:
    """An assignment such as softmax = Softmax.apply is a definition too."""
    code = "class Softmax:\n    apply = len\n\nsoftmax = Softmax.apply\n"
    assert extract_code(fence(code), "softmax") == code


def test_method_of_the_same_name_is_no_definition() -> None:
    """The entry point is looked for at the top level: the block with the real one wins."""
    method = "class A:\n    def softmax(self):\n        pass\n"
    assert extract_code(fence(WHOLE) + "\n" + fence(method), "softmax") == WHOLE


def test_bare_code_without_fences_is_the_answer() -> None:
    """A model that answers with the file alone is understood."""
    assert extract_code(WHOLE, "softmax") == WHOLE


def test_unclosed_fence_is_read_to_the_end() -> None:
    """A cut answer whose code happens to be whole is not lost."""
    assert extract_code(f"Sure:\n```python\n{WHOLE}", "softmax") == WHOLE


@pytest.mark.parametrize(
    "broken",
    [
        f"{WHOLE}    return (x +\n",
        "def softmax(x):\n\treturn x\n        y\n",
        "def softmax(x, x):\n    return x\n",
        "def softmax(x):\n    pass\nreturn 1\n",
        "def softmax(x):\n    return " + "(" * 300 + ")" * 300 + "\n",
    ],
)
def test_broken_code_is_handed_on_to_be_called_a_syntax_error(broken: str) -> None:
    """A block that tries to define the entry point is the answer even if it does not parse."""
    with pytest.raises(SyntaxError):
        compile(broken, "<broken>", "exec")
    assert extract_code("Here:\n" + fence(broken), "softmax") == broken


def test_code_under_another_name_is_handed_on_to_be_called_missing() -> None:
    """Python that defines something else is code without its entry point, not no code."""
    other = WHOLE.replace("def softmax(", "def triton_softmax(")
    assert extract_code(fence(other), "softmax") == other


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I cannot write this kernel, because def softmax( is all I know.",
        "```\npip install triton\n```\n",
        "```bash\npython softmax.py\n```\n",
        "```cpp\nvoid softmax(float *x);\n```\n",
        "```python\n```\n",
        "softmax",
    ],
)
def test_answer_without_code_gives_none(answer: str) -> None:
    """Prose, shell, another language and an empty block hold no candidate."""
    assert extract_code(answer, "softmax") is None


def test_invalid_escape_in_the_code_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """Reading a model's code prints no warning of the parser's."""
    code = WHOLE + 'pattern = "\\d"\n'
    assert extract_code(fence(code), "softmax") == code
    assert not recwarn.list
