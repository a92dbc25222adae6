"""Layer norm over the rows of a matrix: memory-bound, one read and one write at best.

Does not cover the gradient, nor layer norm without weight and bias.
"""

from tritonexp.operations import ScalarArgument, Spec, TensorArgument

SPEC = Spec(
    title="Row-wise layer norm with weight and bias",
    pattern="reduction",
    axes=("rows", "cols"),
    arguments=(
        TensorArgument(name="x", shape=("rows", "cols")),
        TensorArgument(name="weight", shape=("cols",), varied=False),
        TensorArgument(name="bias", shape=("cols",), varied=False),
        ScalarArgument(name="eps", value=1e-5),
    ),
    outputs=(("rows", "cols"),),
    dtypes=("float32", "float16", "bfloat16"),
    timed_dtype="float32",
    # left out, since in float32 the result is then that of rounding and not of the kernel:
    # shifted and constant, where the rounding of the mean is magnified by mean over spread (by up
    # to 1 / sqrt(eps), about 316, in a constant row), so that a row in which the baseline is lucky
    # would fail a kernel that is as exact; and near_limit, whose squares and even sums overflow
    # float32. tiny and the zero rows of sparse still find a kernel that forgets eps
    distributions=("normal", "raised", "large", "tiny", "sorted", "outlier", "sparse"),
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
    # the variance of two or three values can be all cancellation: at 100,000 rows of two columns
    # the float32 baseline itself was 734 ulp off on ordinary values, and 86,000 on large ones
    min_hidden_extents={"cols": 8},
)
