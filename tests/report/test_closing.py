"""What the report says of the machine: its clocks, and how it compares a kernel with itself."""

import dataclasses

import builders as build
import pytest

from tritonexp.records import Calibration, ClockLog, ClockSample, Interval, SelfComparison
from tritonexp.report import closing, view

STEADY = ClockSample(sm_mhz=1980, memory_mhz=3201, temperature_c=40, power_w=250.4, reasons=())


def said(**changes):
    """The section on validity, of a record whose evaluation has these changes."""
    record = build.record(build.gpu_evaluation())
    (attempt,) = record.attempts
    evaluation = dataclasses.replace(attempt.evaluation, **changes)
    attempts = (dataclasses.replace(attempt, evaluation=evaluation),)
    record = dataclasses.replace(record, attempts=attempts)
    return closing.validity(record, view.timed(record))


def log(*samples, again=0, unsteady=(), reason=""):
    """A log of one size."""
    return ClockLog(
        size=build.SIZES[0],
        samples=samples,
        measured_again=again,
        unsteady=unsteady,
        rule="The rule.",
        reason=reason,
    )


def test_clocks_are_told_with_their_extent():
    """Over all rounds and sizes; what was not read is left out, and the rule is there."""
    hot = ClockSample(
        sm_mhz=1755, memory_mhz=None, temperature_c=71, power_w=None, reasons=("sw_power_cap",)
    )
    text = said(clock_logs=(log(STEADY, hot, again=1), log(STEADY, STEADY, unsteady=(0,))))
    assert "4 rounds: SM clock 1,755 to 1,980 MHz, memory clock 3,201 MHz" in text
    assert "temperature 40 to 71 °C, power 250 W; held back by sw_power_cap." in text
    assert "1 unsteady round measured again, and 1 left that are unsteady. The rule." in text


@pytest.mark.parametrize(
    ("logs", "why"), [((), "not read,"), ((log(None, reason="no NVML"),), "not read (no NVML),")]
)
def test_clocks_that_were_not_read_are_said_to_be_unknown(logs, why):
    """No throttling was seen, which is not the same as none."""
    assert why in said(clock_logs=logs)


def test_calibration_is_cited():
    """With its date, and the intervals that the machine reaches at each size."""
    compared = SelfComparison(
        size=build.SIZES[0],
        pairs=60,
        false_verdicts=1,
        ratios=Interval(low=0.998, high=1.002),
        usual_reach=0.004,
        largest_reach=0.011,
    )
    found = Calibration(
        date="2026-11-20T10:00:00+00:00",
        gpu_name="NVIDIA H200",
        operation="softmax",
        source_sha256="0" * 64,
        dtype="float32",
        protocol=build.PROTOCOL,
        sizes=(compared, dataclasses.replace(compared, size=build.SIZES[1], false_verdicts=0)),
    )
    text = said(calibration=found)
    assert "on 2026-11-20: 1 of 120 pairs were not called a tie" in text
    assert f"{build.SIZES[0].label} ±0.4" in text
    assert "was not calibrated" in said(calibration=None)
