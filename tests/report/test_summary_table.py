"""What a run prints at its end."""

import math

import builders as build
import pytest
from rich.console import Console

from tritonexp import report
from tritonexp.records import Status


def printed(record, width=120):
    """The summary as a terminal shows it."""
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(report.summary_table(record))
    return capture.get()


def test_summary_shows_times_intervals_and_verdicts():
    """Medians, intervals, verdict words and the label are all there."""
    text = printed(build.record(build.gpu_evaluation()))
    timing = build.gpu_evaluation().candidate.timings[2]
    assert f"{timing.median_us:.2f}" in text
    assert f"[{timing.interval_us.low:.2f}, {timing.interval_us.high:.2f}]" in text
    assert "faster" in text
    assert "measured on NVIDIA H200, 2026-11-22" in text
    assert "of ceiling" in text


def test_summary_has_the_mean_of_every_side():
    """The geometric mean of the times stands beside that of the speed-ups."""
    evaluation = build.gpu_evaluation()
    text = printed(build.record(evaluation), width=160)
    assert "geometric mean" in text
    medians = [item.median_us for item in evaluation.candidate.timings]
    row = next(line for line in text.splitlines() if line.strip().startswith("candidate"))
    mean_us = math.prod(medians) ** (1 / len(medians))
    assert float(row.split()[-1]) == pytest.approx(mean_us, abs=0.05)


def test_summary_explains_its_ratios():
    """0.9x (slower) has its word in brackets, and a line says what above 1x means."""
    slow = build.scaled(build.gpu_evaluation(), 1.2)
    text = printed(build.record(slow), width=160)
    assert "above 1x the candidate is faster" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("over liger"))
    assert row.count("x (slower)") == len(build.SIZES) + 1
    assert "x (faster)" in text


def test_narrow_terminal_cuts_no_figure():
    """At 60 columns the sizes are spread over several tables, each figure whole."""
    evaluation = build.gpu_evaluation()
    text = printed(build.record(evaluation), width=60)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 60
    for item in evaluation.candidate.timings:
        decimals = 2 if item.median_us < 100 else 1
        low, high = item.interval_us.low, item.interval_us.high
        assert f"[{low:.{decimals}f}, {high:.{decimals}f}]" in text


def test_summary_without_times_shows_none():
    """Without a GPU the cases are told, and the times are a dash."""
    text = printed(build.record(build.interpreter_evaluation()))
    assert "36 of 36 cases passed" in text
    assert "Times: -" in text
    assert "µs" not in text


def test_summary_without_an_expert_shows_dashes():
    """The expert's row stays, with a dash at each size."""
    text = printed(build.record(build.gpu_evaluation(names=("baseline", "torch"))))
    row = next(line for line in text.splitlines() if line.strip().startswith("over expert"))
    assert row.split()[2:] == ["-"] * (len(build.SIZES) + 1)


def test_summary_takes_a_reason_word_for_word():
    """Brackets in a reason are not taken for markup."""
    record = build.record(
        None, source=None, status=Status.RUNTIME_ERROR, reason="index [/red] [bold] out of range"
    )
    assert "index [/red] [bold] out of range" in printed(record)


def test_headline_is_one_line_with_intervals():
    """The headline names the speed-ups with intervals, the expert and where it was measured."""
    line = report.headline(build.record(build.gpu_evaluation()))
    assert "\n" not in line
    assert line.startswith("softmax/recorded/baseline_only: CORRECT, ")
    assert line.count("[") == 2
    assert "vs liger" in line


def test_headline_of_a_failure_gives_the_reason():
    """A failure is told by status and reason, on one line."""
    record = build.record(None, source=None, reason="no block\ndefines softmax")
    assert report.headline(record) == (
        "softmax/recorded/baseline_only: NO_CODE, no block defines softmax"
    )


def test_headline_without_a_gpu_says_not_timed():
    """An interpreter run claims no speed."""
    line = report.headline(build.record(build.interpreter_evaluation()))
    assert line.endswith("verified in Triton's interpreter, not timed (no GPU)")
