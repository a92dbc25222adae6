"""Softmax over the rows of a matrix: memory-bound, one read and one write at best."""

from tritonexp.operations import Spec, TensorArgument

SPEC = Spec(
    title="Row-wise softmax",
    pattern="fusion",
    axes=("rows", "cols"),
    arguments=(TensorArgument(name="x", shape=("rows", "cols")),),
    outputs=(("rows", "cols"),),
    dtypes=("float32", "float16", "bfloat16"),
    timed_dtype="float32",
    distributions=(
        "normal",
        "shifted",
        "large",
        "tiny",
        "constant",
        "sorted",
        "outlier",
        "sparse",
        "near_limit",
        "minus_inf",
    ),
    from_ladder=lambda rows, cols: (rows, cols),
    irregular=(
        (1, 1),
        (1, 1023),
        (3, 257),
        (7, 1000),
        (127, 64),
        (1823, 781),
        (513, 513),
        (2, 32769),
        (4097, 31),
    ),
    interpreter=((1, 1), (3, 257), (7, 1000), (64, 64), (33, 129), (5, 4097)),
    shapes=(
        "Any number of rows from 1 to 1,048,576 and of columns from 1 to 65,536,"
        " powers of two or not."
    ),
    precision=(
        "Results in the input's dtype, as exact as the PyTorch baseline in that dtype;"
        " compute in float32."
    ),
    max_extents={"rows": 1_048_576, "cols": 65_536},
)
