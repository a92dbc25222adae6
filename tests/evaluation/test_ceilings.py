"""What the hardware was measured to reach, and that a busy GPU's figure accuses nobody.

The measurements are made up; what a real GPU reaches is in tests/test_gpu_evaluation.py.
"""

from types import SimpleNamespace

import builders as build
import pytest
import torch
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.evaluation import Referee, ceilings, timing
from tritonexp.evaluation.ceilings import Yardstick, ceilings_of
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.verification import Subject
from tritonexp.records import Clock, Status

# of one size 8 MiB are moved, of the other four times that
SIZES = ((1024, 1024), (2048, 2048))
MOVED_BYTES = 8 << 20


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """Has the next measurements give certain figures; returns how many were taken."""
    monkeypatch.setenv("TRITONEXP_CACHE", str(tmp_path))

    def measured(*found):
        figures, taken = iter(found), []

        def take(*_):
            taken.append(next(figures))
            return taken[-1]

        monkeypatch.setattr(ceilings, "measure_copy_gb_s", take)
        monkeypatch.setattr(ceilings, "measure_matmul_tflop_s", take)
        return taken

    return measured


def test_ceilings_are_measured_once_and_kept(measure):
    """A later run, and one that asks for another dtype, has the bandwidth of the first."""
    taken = measure(4000.0)
    known = ceilings_of(build.H200, ())
    assert ceilings_of(build.H200, ()) == known
    assert taken == [4000.0]
    measure(600.0)
    more = ceilings_of(build.H200, ("float16",))
    assert (more.copy_gb_s, more.matmul_tflop_s) == (4000.0, {"float16": 600.0})


def test_better_figures_of_a_second_measurement_are_kept(measure):
    """Each for itself, and for later evaluations too; a worse one changes nothing."""
    measure(4000.0, 300.0)
    ceilings_of(build.H200, ("float16",))
    yardstick = Yardstick(build.H200, ("float16",))
    assert not yardstick.is_sure
    measure(600.0, 1000.0)
    yardstick.measure_again()
    assert yardstick.is_sure
    found = yardstick.ceilings
    assert {found.copy_gb_s, found.matmul_tflop_s["float16"]} == {4000.0, 600.0}
    assert ceilings_of(build.H200, ("float16",)) == found


@pytest.fixture
def referee(monkeypatch, measure):
    """One that takes itself to be on an H200, whose bandwidth was once measured as 1000 GB/s."""
    if torch.cuda.is_available():
        pytest.skip("a GPU would be used instead")
    softmax = operations.load("softmax")
    with Referee(
        softmax,
        sizes=[softmax.spec.size(extents) for extents in SIZES],
        protocol=build.FEW_ROUNDS,
        counts_traffic=False,
    ) as made:
        measure(1000.0)
        ceilings_of(build.H200, ())
        monkeypatch.setattr(made, "gpu", build.H200)
        made._clocks = SimpleNamespace(close=lambda: None)
        yield made


def timed(referee, monkeypatch, gb_s, clock=Clock.GRAPH):
    """What is found of a candidate that moves its bytes at a rate at the first and second size."""
    subject = Subject(
        SimpleNamespace(workers=[SimpleNamespace(implementation=candidate(RIGHT))]),
    )
    rates = iter(gb_s)

    def time_in_turns(spec, size, dtype, workers, *_):
        median_us = spec.floor_bytes(size, dtype) / (next(rates) * 1e3)
        return [Lane(workers[0], clock, rounds_us=[median_us] * 3)], None

    monkeypatch.setattr(timing, "time_in_turns", time_in_turns)
    timings, _, _ = referee._time([subject])
    return subject, timings["candidate"]


def test_ceiling_of_a_busy_moment_accuses_nobody(referee, monkeypatch, measure):
    """Who is beyond it is measured by a new one, and all sizes are recorded with that."""
    taken = measure(4000.0)
    subject, timings = timed(referee, monkeypatch, (900.0, 3000.0))
    assert subject.failure is None
    assert taken == [4000.0]
    assert [item.fraction_of_ceiling for item in timings] == pytest.approx([0.225, 0.75])
    assert timings[0].floor_us == pytest.approx(MOVED_BYTES / 4e6)
    # which an evaluation's record reports
    assert referee._ceilings().copy_gb_s == 4000.0


def test_who_is_beyond_the_better_ceiling_too_is_implausible(referee, monkeypatch, measure):
    """The figures are those of the better one; it is measured again once, whoever is beyond it."""
    taken = measure(2000.0, 9999.0)
    subject, timings = timed(referee, monkeypatch, (1500.0, 3000.0))
    assert taken == [2000.0]
    assert subject.failure.status is Status.IMPLAUSIBLE
    assert subject.failure.reason == (
        "11.18 us at 2048x2048 is less than the 16.78 us that the hardware needs (memory)"
    )
    assert [item.fraction_of_ceiling for item in timings] == pytest.approx([0.75, 1.5])


def test_a_time_below_the_ceiling_measures_nothing(referee, monkeypatch, measure):
    """Nor does one by the host's clock, which is bounded by something else."""
    taken = measure()
    subject, timings = timed(referee, monkeypatch, (900.0, 1000.0))
    assert (subject.failure, taken) == (None, [])
    assert timings[1].fraction_of_ceiling == pytest.approx(1.0)
    subject, timings = timed(referee, monkeypatch, (9000.0, 9000.0), Clock.HOST)
    assert (subject.failure, taken) == (None, [])
    assert {(item.floor_us, item.fraction_of_ceiling) for item in timings} == {(None, None)}
