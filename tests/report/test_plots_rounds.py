"""The picture of doubtful verdicts: which they are, and what is drawn of their rounds."""

import dataclasses
import math
import statistics

import builders as build
import pytest
from matplotlib.figure import Figure

from tritonexp.records import ClockLog, ClockSample, Interval, Outcome
from tritonexp.report import doubt, plots, style, view
from tritonexp.report.plots import rounds

ROUNDS = build.PROTOCOL.rounds
CLEAR_US = [0.8 * median_us for median_us in build.MEDIANS_US["liger"]]


def clear_evaluation():
    """A candidate that is faster than everything beyond doubt."""
    subject = build.trial("candidate", medians_us=CLEAR_US)
    return build.gpu_evaluation(candidate=subject, names=("baseline", "liger"))


def doubtful_evaluation(place=1, percent=1.0):
    """The same, but 1 % faster than the expert at one size: its interval lies over the edge."""
    medians = list(CLEAR_US)
    medians[place] = build.MEDIANS_US["liger"][place] / (1 + percent / 100)
    subject = build.trial("candidate", medians_us=medians)
    return build.gpu_evaluation(candidate=subject, names=("baseline", "liger"))


def log(place, *, again=0, unsteady=(), clocks_mhz=(1980,) * ROUNDS):
    """What the clocks did at one size."""
    samples = tuple(
        None
        if mhz is None
        else ClockSample(sm_mhz=mhz, memory_mhz=3201, temperature_c=40, power_w=300.0, reasons=())
        for mhz in clocks_mhz
    )
    return ClockLog(
        size=build.SIZES[place],
        samples=samples,
        measured_again=again,
        unsteady=unsteady,
        rule="A rule.",
        reason="",
    )


def doubts(evaluation):
    """The doubtful verdicts of an evaluation."""
    return doubt.doubts_of(view.timed(build.record(evaluation)))


def dots_of(axes):
    """The markers of a panel as (x, y, face colour)."""
    return [
        (line.get_xdata()[0], line.get_ydata()[0], line.get_markerfacecolor())
        for line in axes.lines
        if line.get_linestyle() == "None"
    ]


def test_clear_verdicts_are_not_doubtful(draw):
    """Intervals wholly beyond the margin, in steady rounds, give no picture and one line."""
    evaluation = clear_evaluation()
    shown = view.timed(build.record(evaluation))
    assert doubts(evaluation) == ()
    assert draw(plots.draw_rounds, build.record(evaluation)) is None
    (line,) = doubt.section(shown).splitlines()[2:]
    assert line == (
        "None of 8 verdicts at single sizes: no interval reaches over an edge of the margin of"
        " 1 %, and no round is known to have been unsteady."
    )


def test_interval_over_an_edge_is_doubtful():
    """Only the size whose interval lies over 1.01 is doubtful, and the reason names the edge."""
    (item,) = doubts(doubtful_evaluation())
    assert (item.size, item.comparison.reference) == (build.SIZES[1], "liger")
    assert item.comparison.outcome is Outcome.TIE
    assert item.reason == "interval crosses 1.010"


def test_tie_within_the_margin_is_settled():
    """An interval wholly between the edges is a tie beyond doubt."""
    evaluation = doubtful_evaluation(percent=0.0)
    (tie,) = [
        item
        for item in evaluation.comparisons
        if item.outcome is Outcome.TIE and item.size == build.SIZES[1]
    ]
    assert 1 / 1.01 < tie.interval.low < tie.interval.high < 1.01
    assert doubts(evaluation) == ()


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (log(2, again=1), "1 round measured again"),
        (log(2, unsteady=(3, 8)), "2 rounds left unsteady"),
        (log(2, again=5, unsteady=(3,)), "5 rounds measured again; 1 round left unsteady"),
    ],
)
def test_unsteady_rounds_make_a_size_doubtful(kept, reason):
    """Every reference at a size whose clocks were unsteady is doubtful, whatever the interval."""
    evaluation = dataclasses.replace(clear_evaluation(), clock_logs=(log(1), kept))
    found = doubts(evaluation)
    assert [(item.size, item.comparison.reference) for item in found] == [
        (build.SIZES[2], "baseline"),
        (build.SIZES[2], "liger"),
    ]
    assert {item.reason for item in found} == {reason}


def test_dots_are_the_rounds_in_their_order(draw):
    """A dot for each round at the reference's time over the candidate's; the line is the median."""
    evaluation = doubtful_evaluation()
    (axes,) = draw(plots.draw_rounds, build.record(evaluation)).axes
    subject = evaluation.candidate.timings[1].rounds_us
    reference = evaluation.references[1].timings[1].rounds_us
    ratios = [above / below for above, below in zip(reference, subject, strict=True)]
    dots = dots_of(axes)
    assert [x for x, _, _ in dots] == list(range(1, ROUNDS + 1))
    assert [y for _, y, _ in dots] == pytest.approx(ratios)
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    assert statistics.median(ratios) in [pytest.approx(line.get_ydata()[0]) for line in lines]
    assert axes.get_title(loc="left") == "2048x2048 over liger"
    assert any("interval crosses 1.010" in text.get_text() for text in axes.texts)


def test_margin_and_interval_are_drawn(draw):
    """Grey lines at the edges of the margin, and a band over the interval of the record."""
    evaluation = doubtful_evaluation()
    (axes,) = draw(plots.draw_rounds, build.record(evaluation)).axes
    grey = [line.get_ydata()[0] for line in axes.lines if line.get_color() == style.GREY]
    assert [y for y in grey if len(grey) == 2] == pytest.approx([1 / 1.01, 1.01])
    interval = evaluation.comparison("liger", build.SIZES[1]).interval
    (band,) = axes.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx(
        (interval.low, interval.high)
    )


def test_unsteady_rounds_are_hollow_and_clocks_stand_below(draw):
    """The rounds that are unsteady have white dots, and a panel below has the SM clock."""
    clocks_mhz = [1980] * ROUNDS
    clocks_mhz[3], clocks_mhz[7] = 1500, None
    kept = log(1, unsteady=(3,), clocks_mhz=clocks_mhz)
    evaluation = dataclasses.replace(doubtful_evaluation(), clock_logs=(kept,))
    made = draw(plots.draw_rounds, build.record(evaluation))
    panels, clocks = made.axes[::2], made.axes[1::2]
    assert len(panels) == len(clocks) == 2
    for axes in panels:
        assert [x for x, _, face in dots_of(axes) if face == "white"] == [4]
    for axes in clocks:
        mhz = list(axes.lines[0].get_ydata())
        assert (mhz[2], mhz[3]) == (1980, 1500)
        assert math.isnan(mhz[7])
        assert list(axes.get_yticks()) == [1500, 1980]


def test_clocks_that_were_not_read_are_said_to_be_missing(draw):
    """Without samples there is no panel of clocks, and the caption says so."""
    made = draw(plots.draw_rounds, build.record(doubtful_evaluation()))
    assert len(made.axes) == 1
    assert any("no clocks were read" in text.get_text().replace("\n", " ") for text in made.texts)


def test_steady_clock_looks_steady():
    """A clock that moves by one step of 15 MHz is no drama: one tick and room on both sides."""
    evaluation = dataclasses.replace(
        doubtful_evaluation(), clock_logs=(log(1, clocks_mhz=[1980, 1965, 1980] * 7),)
    )
    axes = Figure().subplots()
    rounds.draw_clock(axes, doubts(evaluation)[0])
    assert list(axes.get_yticks()) == [1980]
    low, high = axes.get_ylim()
    assert high - low > 100


def one_doubt(ratios, low, high):
    """A doubt of given rounds."""
    (item,) = doubts(doubtful_evaluation())
    return dataclasses.replace(item, ratios=tuple(ratios), interval=Interval(low=low, high=high))


def test_round_far_out_is_drawn_at_the_edge():
    """One round of three times the time does not squeeze the others; it is a caret at the edge."""
    ratios = [1.005, 1.01, 1.015, 1.02] * 5
    item = one_doubt([*ratios, 0.33], 1.008, 1.016)
    axes = Figure().subplots()
    rounds.draw_ratios(axes, item, 0.01, style.BLUE)
    low, high = axes.get_ylim()
    assert 0.98 < low < high < 1.04
    last = axes.lines[-1]
    assert (last.get_marker(), last.get_ydata()[0]) == (rounds.BELOW, pytest.approx(low))
    others = [line for line in axes.lines[:-1] if line.get_linestyle() == "None"]
    assert {line.get_marker() for line in others} == {"o"}


def test_margin_is_in_the_panel_only_where_it_is_near():
    """At five times the speed the margin would leave the dots no height, so it is left out."""
    near = one_doubt([1.03, 1.04, 1.05], 1.03, 1.05)
    far = one_doubt([5.1, 5.2, 5.3], 5.1, 5.3)
    assert rounds.limits(near, 0.01)[0] < 1 / 1.01
    assert rounds.limits(far, 0.01)[0] > 5


def test_rounds_that_all_agree_have_a_panel():
    """Equal ratios far from the margin leave an axis of some height."""
    low, high = rounds.limits(one_doubt([5.0] * 4, 5.0, 5.0), 0.01)
    assert low < 5.0 < high


def test_many_doubts_are_cut_and_counted(draw, monkeypatch):
    """Beyond the most panels the caption says how many are shown."""
    monkeypatch.setattr(rounds, "MOST_PANELS", 3)
    logs = tuple(log(place, again=1) for place in range(4))
    evaluation = dataclasses.replace(clear_evaluation(), clock_logs=logs)
    made = draw(plots.draw_rounds, build.record(evaluation))
    assert len(made.axes) == 6
    assert any("3 of 8 shown" in text.get_text().replace("\n", " ") for text in made.texts)


def test_section_lists_each_doubt_with_its_reason():
    """The report's table names size, reference, verdict and why, and holds the picture."""
    shown = view.timed(build.record(doubtful_evaluation()))
    text = doubt.section(shown)
    assert "1 of 8 verdicts at single sizes" in text
    row = next(line for line in text.splitlines() if line.startswith("| 2048x2048"))
    assert row.split(" | ")[1] == "liger"
    assert " (tie) | 21 | interval crosses 1.010 |" in row
    assert text.endswith("](plots/rounds.png)")
