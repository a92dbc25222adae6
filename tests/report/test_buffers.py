"""What the report says of the buffers that timed calls rotate through."""

import dataclasses

import builders as build
import pytest

from tritonexp import operations
from tritonexp.evaluation import timing
from tritonexp.records import Clock, Size
from tritonexp.report import buffers, closing, view


def said(extents=((1024, 1024),), brief=build.BRIEF, **protocol):
    """The sentence of an evaluation at sizes of its own by a protocol of its own."""
    evaluation = build.gpu_evaluation()
    sizes = tuple(Size(axes=("rows", "cols"), extents=one) for one in extents)
    return buffers.sentence(
        brief,
        dataclasses.replace(
            evaluation, sizes=sizes, protocol=dataclasses.replace(build.PROTOCOL, **protocol)
        ),
    )


def test_sizes_that_fill_the_cache_are_cold():
    """Without a size that is not, the sentence is of all of them."""
    assert said(((1024, 1024), (4096, 4096)), cold_factor=4.0) == (
        "Rotating buffers together hold at least 4 times the L2, so that a call finds cold data."
    )


def test_tiny_sizes_are_said_to_be_warm():
    """512 sets of 2 x 4 x 64 x 64 bytes are 16 MiB, a quarter of this L2."""
    text = said(((1024, 1024), (64, 64)), cold_factor=4.0)
    assert "at least 4 times the L2 at 1024x1024, so that a call finds cold data." in text
    assert text.endswith(
        "At 64x64 512 sets, the most that there are, hold 0.27 times the L2, so that a call may"
        " find warm data."
    )
    assert said(((64, 64),), cold_factor=4.0).startswith("At 64x64 512 sets")


def test_without_a_factor_nothing_is_said_to_be_cold():
    """Two sets of a small size lie in the L2 together."""
    text = said(cold_factor=0.0)
    assert "cold" not in text
    assert text.startswith("At 1024x1024 2 sets hold 0.27 times the L2")


def test_events_are_told_apart():
    """At a size that no graph could be captured at, the cache was flushed instead."""
    evaluation = build.gpu_evaluation()
    first, *rest = evaluation.candidate.timings
    timings = (dataclasses.replace(first, clock=Clock.EVENTS), *rest)
    trial = dataclasses.replace(evaluation.candidate, timings=timings)
    text = buffers.sentence(build.BRIEF, dataclasses.replace(evaluation, candidate=trial))
    assert "at 2048x2048, 4096x4096, 8192x1024, so" in text
    assert "At 1024x1024 calls were timed by events, with the cache flushed before each." in text


def test_unknown_shapes_leave_the_rule():
    """Where a brief does not tell the bytes of a call, the most is said that is true."""
    untold = dataclasses.replace(build.BRIEF, arguments=(), result="a matrix")
    text = said(brief=untold, cold_factor=4.0)
    assert text.endswith("at least 4 times the L2, as far as 512 sets reach.")


@pytest.mark.parametrize("clock", [Clock.HOST, Clock.EVENTS])
def test_other_clocks_do_not_rotate(clock):
    """The host's clock has one buffer, and events a flushed cache."""
    assert said(clock=clock) == ""


@pytest.mark.parametrize("cold_factor", [0.0, 1.0, 4.0, 40.0])
@pytest.mark.parametrize("memory_gib", [1, 24, 140])
def test_sets_follow_the_referees_rule(cold_factor, memory_gib):
    """The same number as the referee's at every size, which the report cannot ask."""
    protocol = dataclasses.replace(build.PROTOCOL, cold_factor=cold_factor)
    gpu = dataclasses.replace(build.H200, memory_bytes=memory_gib << 30)
    spec = operations.load("softmax").spec
    for rows in (1, 64, 1023, 1024, 8192, 1 << 20):
        size = spec.size((rows, 1024))
        size_bytes = spec.call_bytes(size, "float32")
        expected = timing.set_count(spec, size, "float32", protocol, gpu)
        assert buffers.sets_of(size_bytes, gpu, protocol) == expected


def test_report_says_of_its_own_sizes_what_holds():
    """The section on validity has the sentence of the record's sizes."""
    record = build.record(build.gpu_evaluation())
    text = closing.validity(record, view.timed(record))
    assert "- Rotating buffers together hold at least 3 times the L2, so that" in text
