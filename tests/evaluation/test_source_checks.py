"""What a source is refused for before it runs, and which Triton kernels it defines."""

import pytest
from candidates import KERNEL, RIGHT

from tritonexp import operations
from tritonexp.evaluation.source_checks import check_source, triton_kernels
from tritonexp.records import Status


def check(source, arguments=("x",)):
    """The finding for a candidate of softmax."""
    return check_source(source, "softmax", list(arguments))


@pytest.mark.parametrize(
    "source",
    [
        RIGHT,
        "def softmax(x, block_size=1024): ...",
        "def softmax(*tensors): ...",
        "def softmax(y): ...",
        "def softmax(x, /, *, num_warps=4): ...",
        "def fast(x): ...\nsoftmax = fast",
        "def softmax(): ...\ndef softmax(x): ...",
    ],
    ids=["right", "default", "varargs", "other-name", "keyword", "assigned", "redefined"],
)
def test_source_that_can_be_called_is_let_through(source):
    """A function at the top level that takes the operation's arguments is enough."""
    assert check(source) is None


@pytest.mark.parametrize("name", operations.names())
def test_house_kernels_are_let_through(name):
    """The check accepts what is known to be good."""
    operation = operations.load(name)
    arguments = [item.name for item in operation.spec.arguments]
    house = next(item for item in operation.contenders if item.name == "house")
    assert check_source(house.source, name, arguments) is None
    assert triton_kernels(house.source)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def softmax(x:\n    return x\n", "line 1"),
        ("def softmax(x):\n    return (x\n", "line 2"),
        ("def softmax(x):\nreturn x\n", "line 2"),
        ("```python\ndef softmax(x): ...\n```", "line 1"),
        ("def softmax(x):\n    return x\0\n", "null"),
    ],
    ids=["signature", "bracket", "indent", "fence", "null"],
)
def test_broken_syntax_is_told_with_its_place(source, told):
    """The reason says where to look."""
    status, reason = check(source)
    assert status is Status.SYNTAX_ERROR
    assert told in reason


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000,
        "-" * 100_000 + "1",
        "1" + " + 1" * 100_000,
    ],
    ids=["brackets", "signs", "sum"],
)
def test_source_that_overwhelms_the_parser_is_a_syntax_error(source):
    """A source too deep to parse is the candidate's fault, not the referee's."""
    status, reason = check(source)
    assert status is Status.SYNTAX_ERROR
    assert "nested" in reason
    assert triton_kernels(source) == frozenset()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "there are none"),
        ("def relu(x): ...\ndef gelu(x): ...", "relu, gelu"),
        ("class Softmax:\n    def softmax(self, x): ...", "there are none"),
        ("def outer():\n    def softmax(x): ...", "outer"),
        ("def softmax(): ...", "not (x)"),
        ("def softmax(x, block_size): ...", "takes (x, block_size)"),
    ],
    ids=["empty", "others", "method", "nested", "too-few", "too-many"],
)
def test_missing_entry_point_names_what_there_is(source, told):
    """The reason names the function that is asked for, or what the file has in its place."""
    status, reason = check(source)
    assert status is Status.MISSING_ENTRY_POINT
    assert "softmax" in reason
    assert told in reason


def test_several_arguments_are_counted():
    """A function is held to the operation's own number of arguments."""
    wanted = ("x", "weight", "bias", "eps")
    assert check("def softmax(x, weight, bias, eps=1e-5): ...", wanted) is None
    assert check("def softmax(x, weight): ...", wanted)[0] is Status.MISSING_ENTRY_POINT


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (KERNEL, {"softmax_kernel"}),
        ("@jit\ndef a(): ...", {"a"}),
        ("@triton.jit()\ndef a(): ...", {"a"}),
        ("@triton.jit(do_not_specialize=['n'])\ndef a(n): ...", {"a"}),
        ("@triton.autotune(configs=[], key=[])\n@triton.jit\ndef a(): ...", {"a"}),
        ("@triton.heuristics({})\n@triton.autotune([], [])\n@triton.jit\ndef a(): ...", {"a"}),
        ("def make():\n    @triton.jit\n    def a(): ...\n    return a", {"a"}),
        ("if True:\n    @triton.jit\n    def a(): ...", {"a"}),
        ("def a(): ...\nkernel = triton.jit(a)", {"a"}),
        ("def a(): ...\nkernel = triton.autotune([], [])(triton.jit(a))", {"a"}),
        ("@triton.jit\ndef a(): ...\n@triton.jit\ndef b(): ...", {"a", "b"}),
        ("import triton\ndef softmax(x): return torch.softmax(x, 1)", set()),
        ("@torch.compile\ndef a(): ...", set()),
        ('text = """@triton.jit\ndef a(): ..."""', set()),
        ("# @triton.jit\ndef a(): ...", set()),
    ],
)
def test_triton_kernels_are_found_in_every_form(source, names):
    """Decorated, wrapped, nested and called: the functions, by the names that a launch reports."""
    assert triton_kernels(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "from triton import jit as make\n@make\ndef a(): ...",
        "from triton import jit as make\ndef a(): ...\nkernel = make(noinline=True)(a)",
        "import triton as tt\n@tt.jit\ndef a(): ...",
        "import triton.language as tl\nimport triton\n@triton.jit\ndef a(): ...",
        "import triton.runtime.jit as low\n@low.jit\ndef a(): ...",
        "from triton import *\n@jit\ndef a(): ...",
        "from triton.experimental import gluon\n@gluon.jit\ndef a(): ...",
        "def softmax(x):\n    from triton import jit as make\n    @make\n    def a(): ...",
        "try:\n    from triton import jit\nexcept: from numba import jit\n@jit\ndef a(): ...",
    ],
)
def test_kernel_made_under_another_name_is_found(source):
    """An import under another name makes no kernel invisible."""
    assert triton_kernels(source) == {"a"}


@pytest.mark.parametrize(
    "source",
    [
        "from numba import jit\n@jit\ndef a(): ...",
        "from numba import jit as make\n@make\ndef a(): ...",
        "import triton, numba\n@numba.jit(nopython=True)\ndef a(): ...",
        "import triton, numba.cuda\n@numba.cuda.jit\ndef a(): ...",
        "import triton\nfrom numba import cuda\n@cuda.jit\ndef a(): ...",
        "from numba import *\n@jit\ndef a(): ...",
        "import numba as triton\n@triton.jit\ndef a(): ...",
        "from .triton import jit\n@jit\ndef a(): ...",
        "from triton import autotune as jit\n@jit([], [])\ndef a(): ...",
    ],
)
def test_jit_of_another_package_makes_no_kernel(source):
    """A name that an import gives to something else is not Triton's."""
    assert triton_kernels(source) == frozenset()


def test_kernel_made_with_options_is_found():
    """`triton.jit(noinline=True)(function)` is a kernel too."""
    assert triton_kernels("def a(): ...\nkernel = triton.jit(noinline=True)(a)") == {"a"}
