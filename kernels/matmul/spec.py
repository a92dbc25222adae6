"""Product of two float16 matrices: compute-bound on tensor cores at all but the thinnest sizes.

Does not cover batches, transposed operands and other dtypes.
"""

from tritonexp.operations import Spec, TensorArgument
from tritonexp.records import Size


def _flops(size: Size) -> int:
    m, n, k = size.extents
    return 2 * m * n * k


SPEC = Spec(
    title="Matrix product in float16",
    pattern="tiling",
    axes=("m", "n", "k"),
    arguments=(
        TensorArgument(name="a", shape=("m", "k")),
        # always normal: were both extreme, the sums over k would leave the range of float16
        TensorArgument(name="b", shape=("k", "n"), varied=False),
    ),
    outputs=(("m", "n"),),
    dtypes=("float16",),
    timed_dtype="float16",
    # left out: large and near_limit, whose sums over a long k come to float16's limit or pass it,
    # where one rounding decides between a number and infinity
    distributions=("normal", "shifted", "tiny", "constant", "sorted", "outlier", "sparse"),
    # a ladder's pair is the shape of the result's rows by the square matrix that they go through
    from_ladder=lambda rows, cols: (rows, cols, cols),
    irregular=(
        (1, 1, 1),
        (3, 5, 7),
        (1, 1023, 129),
        (4097, 16, 31),
        (17, 257, 31),
        (127, 129, 65),
        (255, 769, 2049),
        (513, 511, 1000),
        (64, 64, 8191),
    ),
    interpreter=((1, 1, 1), (3, 5, 7), (64, 64, 64), (17, 33, 129), (130, 70, 40), (1, 300, 17)),
    shapes=("Any m, n and k from 1 to 32,768, powers of two or not."),
    precision="Results in float16, accumulated over all of k in float32.",
    max_extents={"m": 32_768, "n": 32_768, "k": 32_768},
    # an error is judged at its row's scale, and a row of one column has none but its own value:
    # among thousands of rows some cancel, and a float32 sum was 22 ulp off at 30,000 x 1 x 64.
    # small irregular sizes still try one column
    min_hidden_extents={"n": 16},
    flops=_flops,
    # a sum in float32 that is rounded once is off by half an ulp; one kept in float16 by several
    floor_ulp=2.0,
)
