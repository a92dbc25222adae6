"""ceiling.png: what each side achieves at each size, beside what the device was measured to reach.

Sizes that memory bounds are shown in GB/s beside the copy, those that computing bounds in TFLOP/s
beside the matmul, and these also as a roofline over their arithmetic intensity.
Does not cover host time, which no ceiling bounds: then nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonexp.records import Role, Size, StudyRecord, Trial
from tritonexp.report import ceiling, style, view, words
from tritonexp.report.plots import shared
from tritonexp.report.plots.roofline import draw_roofline

ROW_IN, TITLE_IN = 3.8, 1.1
FULL_LETTERS = 2 * shared.HALF_LETTERS
SHADE = "#f0f0f0"
ROOFLINE = "roofline"
MANY = 6  # with more sizes than this, a bar is narrow

Looks = dict[Trial, tuple[str, str]]


def draw_ceiling(record: StudyRecord, path: Path) -> bool:
    """Draw ceiling.png; False, and no file, where no ceiling bounds what was timed."""
    shown = view.timed(record)
    bounds = ceiling.bounds_of(shown.evaluation) if shown else ()
    if shown is None or not bounds:
        return False
    looks = shared.looks(shown.evaluation)
    compute = next((bound for bound in bounds if bound.kind == "compute"), None)
    intensities = _intensities(record, shown, compute)
    made, panels = _layout(record, shown, bounds, roofline=bool(intensities))
    for bound in bounds:
        draw_rates(panels[bound.kind], shown, bound, looks, alone=len(bounds) == 1)
    if compute is not None and intensities:
        draw_roofline(panels[ROOFLINE], compute, intensities, looks)
    made.legend(
        handles=[shared.mark(trial, look) for trial, look in looks.items()],
        loc="outside lower center",
        ncols=style.legend_columns([shared.legend(trial) for trial in looks], shared.WIDTH_IN),
        frameon=False,
        fontsize=9,
    )
    style.save(made, path)
    return True


def draw_rates(
    axes: Any, shown: view.Timed, bound: ceiling.Bound, looks: Looks, *, alone: bool = True
) -> None:
    """Draw a bar for each side at each size that a ceiling bounds, with per cent on the right."""
    tops = [bound.rate]
    width = shared.SLOT / len(looks)
    absent = "failed or not timed"
    for index, (trial, (colour, _)) in enumerate(looks.items()):
        for place, size in enumerate(bound.sizes):
            at = place + shared.offset(index, len(looks))
            rate = ceiling.rate_of(trial, size, bound)
            if rate is None:
                axes.plot(
                    at, 0, "x", color=colour, markersize=6, clip_on=False, zorder=4, label=absent
                )
                absent = "_nolegend_"
                continue
            axes.bar(at, rate.value, width * 0.9, color=colour, linewidth=0)
            _draw_interval(axes, at, rate)
            tops.append(rate.interval.high)
            if trial.implementation.role is Role.CANDIDATE:
                _write_percent(axes, at, rate, bound, many=len(bound.sizes) > MANY)
    _draw_ceiling(axes, bound)
    _shade_short(axes, shown, bound)
    shared.label_sizes(
        axes,
        bound.sizes,
        [f"{words.time_us(ceiling.floor_us(shown.evaluation, size))} µs" for size in bound.sizes],
        letters=FULL_LETTERS if alone else shared.HALF_LETTERS,
    )
    axes.set_ylim(0, max(tops) * 1.09)
    noun = "bandwidth" if bound.kind == "memory" else "rate"
    axes.set_ylabel(f"achieved {noun} ({bound.unit})", fontsize=10)
    style.tidy(axes)
    shared.plain_figures(axes.yaxis)
    _add_percent_axis(axes, bound)


def _intensities(
    record: StudyRecord, shown: view.Timed, bound: ceiling.Bound | None
) -> dict[Size, float]:
    if bound is None:
        return {}
    return {
        size: intensity
        for size in bound.sizes
        if (intensity := ceiling.intensity_of(record.brief, shown.evaluation, size, bound))
    }


def _layout(
    record: StudyRecord, shown: view.Timed, bounds: Sequence[ceiling.Bound], *, roofline: bool
) -> tuple[Any, dict[str, Any]]:
    """A row of panels by kind of bound, and the roofline below it."""
    kinds = [str(bound.kind) for bound in bounds]
    rows = [kinds, [ROOFLINE] * len(kinds)] if roofline else [kinds]
    made = style.figure(
        shared.WIDTH_IN,
        TITLE_IN + ROW_IN * len(rows),
        f"{record.brief.title}: how near the ceiling{shared.tag(shown)}",
        f"{shared.details(record, shown)}; achieved: {_what(kinds)} over the time per call, with"
        " 95 % intervals; below each size the least time that the ceiling allows",
    )
    # a kind of one size still needs room for its legend
    widths = [max(2, len(bound.sizes)) for bound in bounds]
    return made, made.subplot_mosaic(rows, width_ratios=widths)


def _what(kinds: Sequence[str]) -> str:
    amounts = {"memory": "the least bytes", "compute": "the operations"}
    return " or ".join(amounts[kind] for kind in kinds)


def _draw_interval(axes: Any, at: float, rate: ceiling.Rate) -> None:
    axes.errorbar(
        at,
        rate.value,
        yerr=shared.bars([(rate.value, rate.interval)]),
        fmt="none",
        ecolor=style.BLACK,
        elinewidth=1,
        capsize=2,
    )


def _write_percent(
    axes: Any, at: float, rate: ceiling.Rate, bound: ceiling.Bound, *, many: bool
) -> None:
    # upright at its bar's foot, where no line crosses it; above a bar too short
    inside = rate.value > bound.rate / 5
    axes.annotate(
        f"{100 * rate.fraction:.0f} %",
        (at, 0 if inside else rate.interval.high),
        xytext=(0, 5),
        textcoords="offset points",
        rotation=90,
        ha="center",
        va="bottom",
        fontsize=7.5 if many else 8.5,
        fontweight="bold",
        color="white" if inside else style.BLACK,
    )


def _draw_ceiling(axes: Any, bound: ceiling.Bound) -> None:
    axes.axhline(bound.rate, color=style.BLACK, linewidth=1.4)
    axes.annotate(
        f"measured: {bound.label}",
        (0, bound.rate),
        xycoords=("axes fraction", "data"),
        xytext=(4, 3),
        textcoords="offset points",
        va="bottom",
        fontsize=8.5,
        color=style.BLACK,
        # a bar may stand behind it: what is implausible passes the ceiling
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
    )


def _shade_short(axes: Any, shown: view.Timed, bound: ceiling.Bound) -> None:
    """Shade the sizes whose floor is so short that what it leaves out weighs."""
    label: str | None = f"floor below {ceiling.SHORT_US:g} µs: launch and latency weigh"
    for place, size in enumerate(bound.sizes):
        least_us = ceiling.floor_us(shown.evaluation, size)
        if least_us is not None and ceiling.is_short(least_us):
            axes.axvspan(place - 0.5, place + 0.5, color=SHADE, linewidth=0, zorder=0, label=label)
            label = None
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8.5)


def _add_percent_axis(axes: Any, bound: ceiling.Bound) -> None:
    right = axes.secondary_yaxis(
        "right",
        functions=(lambda rate: 100 * rate / bound.rate, lambda part: part * bound.rate / 100),
    )
    right.set_ylabel("% of the ceiling", fontsize=10)
    right.tick_params(colors=style.BLACK, labelsize=9, length=3)
    right.spines["right"].set_color(style.GREY)
