"""Headings and legends of the pictures: whole, and without a lone word."""

import dataclasses
from pathlib import Path

import builders as build
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color

from tritonexp.records import StudyRecord, from_json
from tritonexp.report import groups, plots, style, sweep_plot

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
TITLES = (
    "Softmax",
    "Row-wise layer norm with weight and bias",
    "A much longer title of an operation that somebody may well add one day to the others",
)
PICTURES = (plots.draw_comparison, plots.draw_key_metric, plots.draw_ceiling, plots.draw_rounds)


def saved(monkeypatch, draw, *arguments):
    """The figure that a function saves, or None."""
    figures = []
    monkeypatch.setattr(style, "save", lambda made, _: figures.append(made))
    draw(*arguments)
    return figures[0] if figures else None


def assert_texts_fit(made):
    """Heading and details lie inside of the picture, and above every panel."""
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    renderer, (width, height) = canvas.get_renderer(), made.get_size_inches() * made.dpi
    heading, details, *_ = made.texts
    for text in (heading, details):
        box = text.get_window_extent(renderer)
        assert 0 <= box.x0 < box.x1 <= width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= height, text.get_text()
    assert heading.get_window_extent(renderer).y0 >= details.get_window_extent(renderer).y1
    for axes in made.axes:
        assert axes.get_tightbbox(renderer).y1 <= details.get_window_extent(renderer).y0


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.__name__)
def test_heading_and_details_are_whole(title, picture, monkeypatch, tmp_path):
    """Titles of any length, each with where it was recorded."""
    like_the_expert = [0.99 * value for value in build.MEDIANS_US["liger"]]
    evaluation = build.gpu_evaluation(
        candidate=build.trial("candidate", medians_us=like_the_expert)
    )
    record = build.record(build.interpreter_evaluation(), recorded_evaluation=evaluation)
    record = dataclasses.replace(record, brief=dataclasses.replace(record.brief, title=title))
    made = saved(monkeypatch, picture, record, tmp_path / "a.png")
    assert_texts_fit(made)


@pytest.mark.parametrize("bold", [True, False])
@pytest.mark.parametrize("words", range(1, 60, 3))
def test_no_line_is_left_to_a_lone_word(words, bold):
    """Lines are as few as can be, fit, hold the whole text, and are about equally long."""
    text = " ".join(["word", "longer", "of", "intermediate"][index % 4] for index in range(words))
    lines = style.lines_of(text, 6.0, 9.0, bold=bold)
    assert " ".join(lines) == text
    widths = [style.width_of(line, 9.0, bold=bold) for line in lines]
    assert max(widths) <= 6.0
    assert len(lines) == 1 or min(widths) > 0.6 * max(widths)
    assert len(lines) <= 1 + style.width_of(text, 9.0, bold=bold) / 5.0


def test_lines_end_between_parts_where_they_can():
    """A date stays with what it belongs to."""
    lines = style.lines_of(
        "softmax: a model with a name of some length, prompt baseline_only; float32, device time;"
        " recorded on NVIDIA H200, 2026-11-23",
        6.0,
        9.0,
    )
    assert len(lines) == 2
    assert lines[0].endswith(";")
    heading = "Row-wise layer norm: times and speed-ups (recorded on NVIDIA H200, 2026-11-23)"
    assert style.lines_of(heading, 6.0, 13.0, bold=True)[-1].endswith(
        "(recorded on NVIDIA H200, 2026-11-23)"
    )


def sweep_records(prompts_recorded):
    """A job for each prompt, of figures that were recorded earlier or not."""
    return [
        build.record(
            build.interpreter_evaluation() if recorded else build.gpu_evaluation(),
            recorded_evaluation=build.gpu_evaluation() if recorded else None,
            prompt=prompt,
        )
        for prompt, recorded in prompts_recorded.items()
    ]


def test_legend_of_a_sweep_looks_like_its_marks(monkeypatch, tmp_path):
    """Series that were recorded earlier are hollow in panel and legend, others are filled."""
    records = sweep_records({"baseline_only": True, "with_hints": False})
    made = saved(monkeypatch, sweep_plot.draw, groups.group(records), "sweep-1", tmp_path / "a.png")
    (legend,) = made.legends
    assert [text.get_text() for text in legend.get_texts()] == ["baseline_only", "with_hints"]
    filled = [not same_color(item.get_markerfacecolor(), "white") for item in legend.legend_handles]
    assert filled == [False, True]
    assert_texts_fit(made)


def test_legend_of_long_names_stays_inside(monkeypatch, tmp_path):
    """Settings with long paths stand below each other, and the panel keeps its height."""
    paths = [f"/home/somebody/some/where/far/away/kernels/version_{n}.py" for n in range(9)]
    heights = []
    for some in (paths[:1], paths):
        records = [
            build.record(build.gpu_evaluation(), study_id=path, config={"model": {"path": path}})
            for path in some
        ]
        made = saved(
            monkeypatch, sweep_plot.draw, groups.group(records), "sweep-1", tmp_path / "a.png"
        )
        canvas = FigureCanvasAgg(made)
        canvas.draw()
        (legend,) = made.legends
        box = legend.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= made.get_size_inches()[0] * made.dpi
        heights.append(made.axes[0].get_window_extent().height)
    assert heights[1] > 0.9 * heights[0]


def test_recorded_pictures_name_the_gpu_in_whole(monkeypatch, tmp_path):
    """What stands in the repository: each operation's recorded evaluation, shown without a GPU."""
    found = sorted(KERNELS.glob("*/evaluations/*/baseline_only-01.json"))
    assert len(found) > 2
    for path in found:
        record = from_json(StudyRecord, path.read_bytes())
        record = dataclasses.replace(
            build.record(build.interpreter_evaluation(), recorded_evaluation=record.evaluation),
            brief=record.brief,
        )
        for picture in PICTURES:
            made = saved(monkeypatch, picture, record, tmp_path / "a.png")
            if made is not None:
                assert_texts_fit(made)
                assert "(recorded on NVIDIA H200, 2026" in made.texts[0].get_text()
