"""The least time of a call, on figures worked out by hand."""

import pytest

from tritonexp.errors import EvaluationError
from tritonexp.evaluation.floors import floor_of
from tritonexp.operations import Spec, TensorArgument
from tritonexp.records import Ceilings

CEILINGS = Ceilings(copy_gb_s=4000.0, matmul_tflop_s={"float16": 600.0}, measured_on="2026-11-22")


def spec_of(flops=None, bytes_moved=None):
    """A square matrix in, a square matrix out."""
    return Spec(
        title="",
        pattern="fusion",
        axes=("rows", "cols"),
        arguments=(TensorArgument(name="x", shape=("rows", "cols")),),
        outputs=(("rows", "cols"),),
        dtypes=("float32", "float16"),
        timed_dtype="float32",
        distributions=("normal",),
        from_ladder=lambda rows, cols: (rows, cols),
        irregular=(),
        interpreter=(),
        shapes="",
        precision="",
        max_extents={"rows": 1 << 20, "cols": 1 << 20},
        flops=flops,
        bytes_moved=bytes_moved,
    )


def test_memory_floor_reads_and_writes_every_byte_once():
    """1000x1000 float32 is 8 MB both ways: 2 us at 4 TB/s; float16 takes half."""
    spec = spec_of()
    size = spec.size((1000, 1000))
    assert floor_of(spec, size, "float32", CEILINGS) == (pytest.approx(2.0), "memory")
    assert floor_of(spec, size, "float16", CEILINGS) == (pytest.approx(1.0), "memory")


def test_spec_may_say_what_must_be_moved():
    """A spec's own count of bytes replaces the sum over its tensors."""
    spec = spec_of(bytes_moved=lambda size, itemsize: 1_000_000 * itemsize)
    assert floor_of(spec, spec.size((3, 3)), "float32", CEILINGS)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("flops", "floor_us", "kind"), [(6e9, 10.0, "compute"), (6e7, 1.0, "memory")]
)
def test_longer_of_memory_and_compute_is_the_floor(flops, floor_us, kind):
    """6 GFLOP at 600 TFLOP/s takes 10 us, above the 1 us of memory; a hundredth does not."""
    spec = spec_of(flops=lambda size: flops)
    found = floor_of(spec, spec.size((1000, 1000)), "float16", CEILINGS)
    assert found == (pytest.approx(floor_us), kind)


def test_unmeasured_rate_is_an_error():
    """A dtype without a measured rate is named, and no floor is made up."""
    spec = spec_of(flops=lambda size: 1)
    with pytest.raises(EvaluationError, match=r"float32 \(measured: float16\)"):
        floor_of(spec, spec.size((8, 8)), "float32", CEILINGS)


def test_bandwidth_of_nothing_is_an_error():
    """A ceiling that no device has is refused."""
    broken = Ceilings(copy_gb_s=0.0, matmul_tflop_s={}, measured_on="2026-11-22")
    spec = spec_of()
    with pytest.raises(EvaluationError, match=r"0\.0 GB/s"):
        floor_of(spec, spec.size((8, 8)), "float32", broken)
