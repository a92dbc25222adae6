"""What a source is refused for before it runs."""

import pytest
from candidates import RIGHT

from tritonexp import operations
from tritonexp.evaluation.source_checks import check_source
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
        "softmax: Callable = fast",
        "if HOPPER:\n    def softmax(x): ...\nelse:\n    def softmax(x): ...",
        "try:\n    from a import softmax\nexcept ImportError:\n    softmax = None",
        "@supplies_output\ndef softmax(x, output): ...",
        "@triton.jit\ndef softmax(x_ptr, y_ptr): ...\nkernel = softmax\ndef softmax(x): ...",
        "with_output = lambda x: x\n(softmax, other) = with_output, None",
        "softmax = None\ndef build():\n    global softmax\n    softmax = fast\nbuild()",
        "softmax = None\nglobals()['softmax'] = fast",
        "softmax = make(3)",
    ],
    ids=[
        *("right", "default", "varargs", "other-name", "keyword", "assigned", "redefined"),
        *("annotated", "branches", "imported", "decorated", "name-reused", "unpacked"),
        *("global", "globals", "made"),
    ],
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


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def softmax(x:\n    return x\n", "line 1"),
        ("def softmax(x):\n    return (x\n", "line 2"),
        ("def softmax(x):\nreturn x\n", "line 2"),
        ("```python\ndef softmax(x): ...\n```", "line 1"),
        ("def softmax(x):\n    return x\0\n", "a null byte in line 2"),
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


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "there are none"),
        ("def relu(x): ...\ndef gelu(x): ...", "relu, gelu"),
        ("class Softmax:\n    def softmax(self, x): ...", "there are none"),
        ("def outer():\n    def softmax(x): ...", "outer"),
        ("def outer():\n    softmax = 1", "outer"),
        ("print(softmax)", "there are none"),
        ("def softmax(): ...", "not (x)"),
        ("def softmax(x, block_size): ...", "takes (x, block_size)"),
        ("softmax = 3", "softmax is 3, and no function"),
        ("import torch\nsoftmax = None", "softmax is None, and no function"),
    ],
    ids=[
        *("empty", "others", "method", "nested", "local", "only-read", "too-few", "too-many"),
        *("number", "nothing"),
    ],
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


def test_file_that_is_deeper_than_we_walk_is_left_to_its_import():
    """Python reads it, and so it is no fault of the file."""
    chain = "if a == 0:\n    b = 0\n" + "".join(
        f"elif a == {number}:\n    b = {number}\n" for number in range(1, 900)
    )
    source = f"a = 1\n{chain}\ndef softmax(x):\n    return x\n"
    compile(source, "deep.py", "exec")
    assert check_source(source, "softmax", ["x"]) is None
