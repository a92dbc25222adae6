"""The picture of how near the ceiling each side came: what is drawn, and where."""

import dataclasses

import builders as build
import pytest

from tritonexp.records import Argument, Clock, Size, Status
from tritonexp.report import ceiling, plots, style, view

MATMUL_SIZES = tuple(
    Size(axes=("m", "n", "k"), extents=extents)
    for extents in ((1024, 1024, 1024), (4096, 4096, 4096))
)
MATMUL_BRIEF = dataclasses.replace(
    build.BRIEF,
    arguments=(
        Argument(name="a", description="tensor [m, k], contiguous"),
        Argument(name="b", description="tensor [k, n], contiguous"),
    ),
    result="tensor [m, n]",
)
RATE_TFLOP_S = 705.0  # of float16, as the builders have it


def matmul_record(kinds=("compute", "compute")):
    """A float16 matrix product at two sizes, each bound by what is said."""
    subject = build.gpu_evaluation(names=("baseline", "torch"))

    def trial_of(trial):
        timings = []
        for size, kind, old in zip(MATMUL_SIZES, kinds, trial.timings, strict=False):
            m, n, k = size.extents
            floor_us = 2 * m * n * k / (RATE_TFLOP_S * 1e6)
            factor = floor_us * 1.25 / old.median_us
            timings.append(
                dataclasses.replace(
                    old,
                    size=size,
                    dtype="float16",
                    median_us=old.median_us * factor,
                    interval_us=dataclasses.replace(
                        old.interval_us,
                        low=old.interval_us.low * factor,
                        high=old.interval_us.high * factor,
                    ),
                    floor_us=floor_us,
                    floor_kind=kind,
                    fraction_of_ceiling=0.8,
                )
            )
        return dataclasses.replace(trial, timings=tuple(timings))

    evaluation = dataclasses.replace(
        subject,
        dtype="float16",
        sizes=MATMUL_SIZES,
        candidate=trial_of(subject.candidate),
        references=tuple(trial_of(trial) for trial in subject.references),
        comparisons=(),
    )
    return dataclasses.replace(build.record(evaluation), brief=MATMUL_BRIEF)


def at_host(evaluation):
    """The same evaluation by the host's clock, which no floor bounds."""

    def trial_of(trial):
        timings = [
            dataclasses.replace(
                item, clock=Clock.HOST, floor_us=None, floor_kind=None, fraction_of_ceiling=None
            )
            for item in trial.timings
        ]
        return dataclasses.replace(trial, timings=tuple(timings))

    return dataclasses.replace(
        evaluation,
        protocol=dataclasses.replace(build.PROTOCOL, clock=Clock.HOST),
        candidate=trial_of(evaluation.candidate),
        references=tuple(trial_of(trial) for trial in evaluation.references),
    )


def bars_of(axes, colour):
    """The heights of the bars of a colour, from left to right."""
    from matplotlib.colors import same_color

    found = [bar for bar in axes.patches if same_color(bar.get_facecolor(), colour)]
    return [bar.get_height() for bar in sorted(found, key=lambda bar: bar.get_x())]


def texts_of(axes):
    """Everything that is written in a panel."""
    return [text.get_text() for text in axes.texts]


def test_bars_are_least_bytes_over_times(draw):
    """Each side has a bar at each size: its bytes per call over its measured time, in GB/s."""
    (axes,) = draw(plots.draw_ceiling, build.record(build.gpu_evaluation())).axes
    for name, colour in (("candidate", style.VERMILLION), ("liger", style.BLUE)):
        wanted = [
            2 * 4 * size.extents[0] * size.extents[1] / median_us / 1e3
            for size, median_us in zip(build.SIZES, build.MEDIANS_US[name], strict=True)
        ]
        assert bars_of(axes, colour) == pytest.approx(wanted)


def test_ceiling_line_is_at_the_measured_copy_and_at_hundred_per_cent(draw):
    """The line stands at the measured bandwidth, where the axis on the right says 100."""
    made = draw(plots.draw_ceiling, build.record(build.gpu_evaluation()))
    (axes,) = made.axes
    assert [build.COPY_GB_S] * 2 in [list(line.get_ydata()) for line in axes.lines]
    assert "measured: copy at 4,257 GB/s" in texts_of(axes)
    made.draw_without_rendering()
    (right,) = axes.child_axes
    assert right.get_ylabel() == "% of the ceiling"
    assert max(right.get_ylim()) == pytest.approx(100 * max(axes.get_ylim()) / build.COPY_GB_S)


def test_candidates_bars_tell_their_per_cent(draw):
    """The candidate's part of the ceiling stands in figures at each of its bars."""
    evaluation = build.gpu_evaluation()
    (axes,) = draw(plots.draw_ceiling, build.record(evaluation)).axes
    told = [text for text in texts_of(axes) if text.endswith(" %")]
    assert told == [
        f"{100 * item.fraction_of_ceiling:.0f} %" for item in evaluation.candidate.timings
    ]


def test_short_sizes_are_shaded_and_every_size_tells_its_floor(draw):
    """1024x1024 takes 2 µs at least and is shaded; the others are not."""
    (axes,) = draw(plots.draw_ceiling, build.record(build.gpu_evaluation())).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[0] == "1024x1024\n1.97 µs"
    assert labels[2] == "4096x4096\n31.53 µs"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["floor below 5 µs: launch and latency weigh"]
    shades = [patch for patch in axes.patches if patch.get_label() in legend]
    assert [(patch.get_x(), patch.get_width()) for patch in shades] == [(-0.5, 1.0)]


def test_no_line_is_drawn_that_bars_rise_above(draw):
    """The only level line in the picture is the measured ceiling, over the whole width."""
    (axes,) = draw(plots.draw_ceiling, build.record(build.gpu_evaluation())).axes
    # pieces of lines are collections: those of the intervals are upright
    pieces = [path.vertices for item in axes.collections for path in item.get_paths()]
    assert pieces
    assert all(len({x for x, _ in vertices}) == 1 for vertices in pieces)


def test_failed_candidate_is_a_cross_at_each_size(draw):
    """A side without times has crosses and no bar, and the legend says its status."""
    failed = dataclasses.replace(
        build.trial("candidate", timed=False), status=Status.INCORRECT, reason="wrong"
    )
    made = draw(plots.draw_ceiling, build.record(build.gpu_evaluation(candidate=failed)))
    (axes,) = made.axes
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses) == len(build.SIZES)
    assert bars_of(axes, style.VERMILLION) == []
    (legend,) = made.legends
    assert "candidate: INCORRECT" in [text.get_text() for text in legend.get_texts()]


def test_implausible_bar_stays_in_the_picture(draw):
    """A time beyond the ceiling is drawn beyond the line, not cut off at it."""
    fast = build.trial(
        "candidate", status=Status.IMPLAUSIBLE, medians_us=(1.0, 10.5, 35.5, 18.3), reason="fast"
    )
    (axes,) = draw(plots.draw_ceiling, build.record(build.gpu_evaluation(candidate=fast))).axes
    highest = max(bars_of(axes, style.VERMILLION))
    assert build.COPY_GB_S < highest < max(axes.get_ylim())


def test_roofline_has_points_below_copy_and_matmul(draw):
    """Compute-bound sizes stand at operations per byte, at their rate, under the measured roof."""
    made = draw(plots.draw_ceiling, matmul_record())
    rates, roof = made.axes
    assert rates.get_ylabel() == "achieved rate (TFLOP/s)"
    assert bars_of(rates, style.VERMILLION) == pytest.approx([0.8 * RATE_TFLOP_S] * 2)
    assert (roof.get_xscale(), roof.get_yscale()) == ("log", "log")
    line = roof.lines[0]
    ridge = RATE_TFLOP_S / (build.COPY_GB_S / 1e3)
    assert line.get_xdata()[1] == pytest.approx(ridge)
    assert line.get_ydata()[1:] == pytest.approx([RATE_TFLOP_S] * 2)
    assert line.get_ydata()[0] == pytest.approx(line.get_xdata()[0] * build.COPY_GB_S / 1e3)
    # 2 n^3 operations over 3 n^2 values of two bytes
    verticals = [line.get_xdata()[0] for line in roof.lines if len({*line.get_xdata()}) == 1]
    assert verticals == pytest.approx([1024 / 3, 4096 / 3])
    (points,) = [line for line in roof.lines if line.get_color() == style.VERMILLION]
    assert points.get_ydata() == pytest.approx([0.8 * RATE_TFLOP_S] * 2)
    assert points.get_xdata() == pytest.approx(verticals, rel=0.1)
    assert "copy at 4,257 GB/s" in texts_of(roof)
    assert {size.label for size in MATMUL_SIZES} <= set(texts_of(roof))


def test_sizes_of_both_bounds_get_a_panel_each(draw):
    """What memory bounds is in GB/s, what computing bounds in TFLOP/s, and only that in a roof."""
    made = draw(plots.draw_ceiling, matmul_record(kinds=("memory", "compute")))
    memory, compute, roof = made.axes
    assert memory.get_ylabel() == "achieved bandwidth (GB/s)"
    assert bars_of(memory, style.VERMILLION) == pytest.approx([0.8 * build.COPY_GB_S])
    assert compute.get_ylabel() == "achieved rate (TFLOP/s)"
    assert "1024x1024x1024" not in texts_of(roof)
    assert "4096x4096x4096" in texts_of(roof)


def test_unknown_shapes_give_no_roofline(draw):
    """A brief that does not tell the tensors' shapes leaves the intensity, and the roof, out."""
    untold = dataclasses.replace(
        MATMUL_BRIEF, arguments=(Argument(name="a", description="a matrix"),), result="a matrix"
    )
    record = dataclasses.replace(matmul_record(), brief=untold)
    assert len(draw(plots.draw_ceiling, record).axes) == 1


@pytest.mark.parametrize(
    "record",
    [
        build.record(at_host(build.gpu_evaluation())),
        build.record(build.interpreter_evaluation()),
        build.record(None, source=None, reason="no block"),
    ],
    ids=["host clock", "interpreter", "no code"],
)
def test_nothing_is_drawn_where_no_ceiling_bounds_the_times(record, draw):
    """Host time, an interpreter and a response without code give no picture."""
    assert draw(plots.draw_ceiling, record) is None


def test_section_has_every_sides_part_and_names_short_sizes():
    """The report's table has the fraction of every side and a dash for what was not timed."""
    evaluation = build.gpu_evaluation(
        references=(build.trial("baseline"), build.trial("liger", missing=(0,)))
    )
    record = build.record(evaluation)
    text = ceiling.section(record, view.timed(record))
    assert "| size | bound by | floor (µs) | candidate | baseline | liger |" in text
    assert "| 1024x1024 | memory | 1.97 | 0.48 | 0.08 | - |" in text
    assert "Where it is below 5 µs (1024x1024), a low fraction may be due to these" in text
    assert text.endswith("by size, beside the ceiling](plots/ceiling.png)")


def test_section_says_why_host_time_has_no_ceiling():
    """Under the host's clock the section is a dash with its reason, without a picture."""
    record = build.record(at_host(build.gpu_evaluation()))
    text = ceiling.section(record, view.timed(record))
    assert text.endswith("- (the ceiling bounds device time, and this is host time)")
