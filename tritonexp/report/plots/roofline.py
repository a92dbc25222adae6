"""The roofline of ceiling.png: achieved rates over arithmetic intensity, below the measured roof.

Does not cover sizes that memory bounds, whose operations a record does not tell.
"""

from __future__ import annotations

import math
from typing import Any

from tritonexp.records import Size, Trial
from tritonexp.report import ceiling, style
from tritonexp.report.plots import shared

SHIFT = 1.035  # between the sides of a size, so that none hides another
LABEL_GAP = 0.022  # of the width, between the names of two sizes


def draw_roofline(
    axes: Any,
    bound: ceiling.Bound,
    intensities: dict[Size, float],
    looks: dict[Trial, tuple[str, str]],
) -> None:
    """Draw achieved TFLOP/s over arithmetic intensity, below the roof of copy and matmul."""
    # GB/s x flop/B = 1e-3 TFLOP/s
    slope = bound.copy_gb_s / 1e3
    ridge = bound.rate / slope
    left, right = min(ridge, *intensities.values()) / 2, max(intensities.values()) * 1.8
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(
        [left, ridge, max(right, ridge)],
        [slope * left, bound.rate, bound.rate],
        color=style.BLACK,
        linewidth=1.4,
    )
    values = []
    for index, (trial, (colour, marker)) in enumerate(looks.items()):
        shift = SHIFT ** (index - (len(looks) - 1) / 2)
        found = [
            (intensity * shift, rate)
            for size, intensity in intensities.items()
            if (rate := ceiling.rate_of(trial, size, bound)) is not None
        ]
        values += [rate.value for _, rate in found]
        axes.errorbar(
            [at for at, _ in found],
            [rate.value for _, rate in found],
            yerr=shared.bars([(rate.value, rate.interval) for _, rate in found]),
            fmt=marker,
            color=colour,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.5,
            elinewidth=1.2,
            zorder=4,
        )
    axes.set_xlim(left, right)
    axes.set_ylim(min([*values, slope * left]) / 1.25, max([*values, bound.rate]) * 1.4)
    _name_roof(axes, bound)
    _name_intensities(axes, intensities)
    for axis in (axes.xaxis, axes.yaxis):
        shared.readable_log(axis)
    axes.set_xlabel("arithmetic intensity (flop per byte of arguments and results)", fontsize=10)
    axes.set_ylabel(f"achieved rate ({bound.unit})", fontsize=10)
    style.tidy(axes)


def _name_roof(axes: Any, bound: ceiling.Bound) -> None:
    left, right = axes.get_xlim()
    slope = bound.copy_gb_s / 1e3
    axes.annotate(
        bound.label,
        (right, bound.rate),
        xytext=(-3, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
    )
    axes.text(
        left * 1.04,
        slope * left * 1.15,
        f"copy at {bound.copy_gb_s:,.0f} GB/s",
        # of the line in the data's own coordinates
        rotation=math.degrees(math.atan(slope)),
        rotation_mode="anchor",
        transform_rotates_text=True,
        va="bottom",
        fontsize=8.5,
        color=style.BLACK,
    )


def _name_intensities(axes: Any, intensities: dict[Size, float]) -> None:
    """Name the sizes above the panel, kept apart where their intensities lie close."""
    left, right = (math.log10(end) for end in axes.get_xlim())
    last = -math.inf
    for size, intensity in sorted(intensities.items(), key=lambda item: item[1]):
        place = (math.log10(intensity) - left) / (right - left)
        last = max(place, last + LABEL_GAP)
        axes.axvline(intensity, color=style.LIGHT, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.annotate(
            size.label,
            (last, 1),
            xycoords="axes fraction",
            xytext=(0, 3),
            textcoords="offset points",
            rotation=35,
            rotation_mode="anchor",
            ha="left",
            va="bottom",
            fontsize=8.5,
            color=style.BLACK,
        )
