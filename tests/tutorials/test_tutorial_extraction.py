import linecache

import pytest
from tutorial_file import TEXT

from tritonexp.errors import ExpertError
from tritonexp.tutorials.extraction import reduced

LINES = TEXT.split("\n")


def kept_of(text, entry="softmax(1)"):
    """The lines that are left of a text, by their numbers."""
    lines = reduced(text, entry, "file.py").split("\n")
    return {number: line for number, line in enumerate(lines, start=1) if line.strip()}


def defined_in(kept):
    """The names of what the kept lines define or assign at the top level."""
    starts = [line for line in kept.values() if not line.startswith((" ", "@", "#"))]
    return [line.split("(")[0].split(" = ")[0].removeprefix("def ") for line in starts]


def test_kept_lines_are_the_files_own_at_their_own_numbers():
    """Every line that is left is byte for byte the file's line of that number."""
    kept = kept_of(TEXT)
    assert kept
    assert all(LINES[number - 1] == line for number, line in kept.items())


def test_exactly_what_the_function_needs_is_kept():
    """The function, what it calls, what that reads and the imports; in the file's order."""
    assert defined_in(kept_of(TEXT)) == [
        "import torch",
        "import triton",
        "import triton.language as tl",
        "DEVICE",
        "properties",
        "is_wide",
        "LIMIT",
        "tutorial_kernel",
        "softmax",
    ]


@pytest.mark.parametrize(
    "dropped",
    [
        "import plotting_that_nobody_has",
        "HAS_LIBRARY",
        "naive_softmax",
        "kernels",
        "manual_seed",
        "torch.randn",
        "assert",
        "print",
        "perf_report",
        "benchmark",
        "A softmax",
        "# %%",
    ],
)
def test_tests_benchmarks_and_prose_are_dropped(dropped):
    """Nothing is left of what tests, measures or explains, nor of imports for it."""
    assert dropped in TEXT
    assert dropped not in "\n".join(kept_of(TEXT).values())


def test_a_decorator_and_a_statement_over_lines_are_kept_whole():
    """The kernel keeps @triton.jit, and an assignment its comment and its second line."""
    text = reduced(TEXT, "softmax(1)", "file.py")
    assert "@triton.jit\ndef tutorial_kernel(y_ptr, x_ptr, stride, n_cols,  #\n" in text
    assert 'properties = {"limit": 65536,  # of columns\n              "device": DEVICE}\n' in text


def test_a_class_is_kept_with_what_its_methods_need():
    """LayerNorm.apply and its like reach functions through a class."""
    assert "class Softmax" in "\n".join(kept_of(TEXT, "Softmax.apply(1)").values())
    assert "tutorial_kernel" in defined_in(kept_of(TEXT, "Softmax.apply(1)"))


def test_an_error_is_told_with_the_files_own_line(tmp_path):
    """A traceback of the reduced file points at the line of the whole one."""
    path = tmp_path / "tutorial.py"
    path.write_text(
        reduced("x = 1\n\nassert False\n\n\ndef f():\n    return 1 / 0\n", "f()", "f.py")
    )
    names = {}
    exec(compile(path.read_text(), path, "exec"), names)  # noqa: S102 - our own text
    with pytest.raises(ZeroDivisionError) as caught:
        names["f"]()
    assert caught.traceback[-1].lineno + 1 == 7
    assert linecache.getline(str(path), 7) == "    return 1 / 0\n"


def test_names_that_are_local_to_the_function_bring_nothing_in():
    """A test's x at the top level is not needed by a function whose argument is x."""
    body = "    return [x for y in x if (lambda z: z)(y)]"
    assert list(kept_of(f"x = y = z = 1\n\n\ndef softmax(x):\n{body}\n")) == [4, 5]


def test_decorators_and_defaults_count_as_needed():
    """What a decorator calls and a default names is taken along, and what that needs."""
    text = (
        "A = 1\nB = A\nC = 2\n\n\ndef wrap(f):\n    return f\n\n\n@wrap\ndef f(x, y=B):\n    pass\n"
    )
    assert list(kept_of(text, "f(1)")) == [1, 2, 6, 7, 10, 11, 12]


def test_a_guarded_import_is_kept_where_it_is_needed():
    """A try around an import and assignments is taken as a whole."""
    assert "HAS_LIBRARY = False" in "\n".join(kept_of(TEXT, "HAS_LIBRARY").values()).replace(
        "    ", ""
    )


def test_future_imports_stay():
    """What changes how the whole file is read is always taken along."""
    text = "from __future__ import annotations\n\nX = 1\n\n\ndef f(x: Absent):\n    return 1\n"
    assert list(kept_of(text, "f(1)")) == [1, 6, 7]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def soft(x):\n    return x\n", r"file\.py defines no 'softmax'.*expert\.path"),
        ("def softmax(x:\n", r"file\.py is no Python file: .* in line 1\..*expert\.path"),
        ("\0", r"file\.py is no Python file: .*expert\.path"),
        (
            "def softmax(x):\n    return LIMIT\n\n\nfor LIMIT in range(3):\n    print(LIMIT)\n",
            r"line 5 of file\.py makes 'LIMIT', which is needed.*only imports, definitions",
        ),
        (
            "if True:\n    run()\n    softmax = 1\n",
            r"line 1 of file\.py makes 'softmax'.*may also test or measure",
        ),
        (
            "LIMIT = 3; print(1)\n\n\ndef softmax(x):\n    return LIMIT\n",
            r"line 1 of file\.py holds a statement that is needed and one that is not",
        ),
    ],
    ids=["absent", "syntax", "null byte", "loop", "branch that runs", "shared line"],
)
def test_a_file_that_cannot_be_reduced_is_refused(text, told):
    """The sentence names the file, the line and what to do next."""
    with pytest.raises(ExpertError, match=told) as caught:
        reduced(text, "softmax(1)", "file.py")
    assert "\n" not in str(caught.value)
