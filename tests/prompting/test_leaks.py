import pytest

from tritonexp.errors import PromptError, PromptLeakError
from tritonexp.prompting.leaks import refuse_leaks, significant_lines

KERNEL = '''"""A kernel that is kept from the model, softmax(x) by rows."""

import torch
import triton
import triton.language as tl
from some_package.kernels import (
    calculate_settings_of_kernel,
)


@triton.jit
def rows_kernel(
    out_ptr,
    BLOCK_SIZE: tl.constexpr,
):
    """Do all the work of the operation in one pass(x)."""
    offsets = tl.arange(0, BLOCK_SIZE)
    # the largest value of the row = tl.max(row_values)
    mask = offsets < n
    values = tl.load(row_ptr + offsets, mask=mask, other=-float("inf"))  # [BLOCK_SIZE]
    tl.store(
        out_ptr + offsets,
        values / total,
        mask,
    )
'''


def check(text: str, allowed: str = "", source: str = KERNEL) -> None:
    """Check a text against one guarded source."""
    refuse_leaks(text, allowed, {"house.py": source}, prompt="mine")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('values = tl.load(row_ptr + offsets, mask=mask, other=-float("inf"))', 20),
        ("values=tl.load(row_ptr+offsets,mask=mask,other=-float('inf'))", 20),
        ('Load with `values = tl.load(row_ptr + offsets, mask=mask, other=-float("inf"))`.', 20),
        (
            '    values = tl.load(\n  row_ptr + offsets, mask=mask,\n  other=-float("inf"))\n',
            20,
        ),
        ("- offsets = tl.arange(0, BLOCK_SIZE)\n", 17),
        ("tl.store(out_ptr + offsets, values / total, mask,)", 21),
    ],
    ids=[
        "as it is",
        "other spacing and quotes",
        "in Markdown",
        "wrapped",
        "in a list",
        "unwrapped",
    ],
)
def test_line_of_a_guarded_source_is_refused(text, number):
    """The refusal names the file, the line's number and the line, however it was laid out."""
    with pytest.raises(PromptLeakError) as error:
        check(f"Some advice first.\n\n{text}\n\nAnd some more.")
    assert f"'mine' holds line {number} of house.py" in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "import triton.language as tl\nfrom some_package.kernels import (",
        "from some_package.kernels import calculate_settings_of_kernel",
        "Do all the work of the operation in one pass(x).",
        "A kernel that is kept from the model, softmax(x) by rows.",
        "the largest value of the row = tl.max(row_values)",
        "@triton.jit",
        "BLOCK_SIZE: tl.constexpr,",
        "mask = offsets < n",
        "my_offsets = tl.arange(0, BLOCK_SIZE)",
        "offsets = tl.arange(0, BLOCK_SIZES)",
        "all offsets = tl.arange(0, BLOCK)",
    ],
    ids=[
        "import",
        "wrapped import",
        "docstring",
        "module docstring",
        "comment",
        "decorator",
        "parameter",
        "short line",
        "end of a longer name",
        "start of a longer name",
        "other code",
    ],
)
def test_what_says_nothing_of_the_kernel_passes(text):
    """Imports, prose, parameters and short lines may appear by chance."""
    check(text)


def test_line_that_the_baseline_has_too_passes():
    """What the model is shown anyway is no leak, in whatever layout it stands there."""
    text = "offsets = tl.arange(0, BLOCK_SIZE)"
    check(text, allowed="offsets = tl.arange(\n    0, BLOCK_SIZE)\n")
    with pytest.raises(PromptLeakError):
        check(text, allowed="offsets = tl.arange(0, 128)\n")


def test_every_guarded_source_is_looked_at():
    """A leak of the last file is found, and the right file is named."""
    guarded = {"experts.py": "x = 1\n", "liger.ops.softmax": KERNEL}
    with pytest.raises(PromptLeakError, match=r"line 17 of liger\.ops\.softmax"):
        refuse_leaks("offsets = tl.arange(0, BLOCK_SIZE)", "", guarded, prompt="mine")


def test_tuning_configurations_in_a_decorator_are_guarded():
    """A decorator with arguments tells how the expert tuned the kernel."""
    source = '@triton.autotune(configs=[triton.Config({"BLOCK": 64})], key=["n"])\ndef f(): ...\n'
    with pytest.raises(PromptLeakError, match=r"line 1 of house\.py"):
        check(source.splitlines()[0], source=source)


def test_source_that_cannot_be_read_is_refused():
    """A guard that cannot run does not pass."""
    with pytest.raises(PromptError, match=r"house\.py cannot be read as Python"):
        check("Some advice.", source="def broken(:\n  x = (1,\n")


def test_statement_over_several_lines_counts_as_lines_and_as_a_whole():
    """Parameters of a call are too short to tell alone, but not together."""
    found = dict.fromkeys(number for number, _ in significant_lines(KERNEL, "house.py"))
    assert list(found) == [12, 17, 20, 21]
