"""The looks that all pictures share: colours, markers, titles.

Uses matplotlib's Figure directly, so that no global state of pyplot is touched.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from tritonexp.records import Outcome, Role

# Okabe and Ito's palette, which the common kinds of colour blindness can tell apart
BLACK = "#1a1a1a"
GREY = "#767676"
LIGHT = "#d9d9d9"
BLUE = "#0072b2"
ORANGE = "#e69f00"
GREEN = "#009e73"
VERMILLION = "#d55e00"
PURPLE = "#cc79a7"
SKY = "#56b4e9"
YELLOW = "#b79f00"

ROLE_LOOKS = {
    Role.CANDIDATE: ((VERMILLION, "o"),),
    Role.BASELINE: ((GREY, "s"),),
    Role.EXPERT: ((BLUE, "D"), (SKY, "d")),
    Role.CONTENDER: ((GREEN, "^"), (PURPLE, "v"), (ORANGE, "P"), (YELLOW, "X")),
}

SERIES_LOOKS = (
    (VERMILLION, "o"),
    (BLUE, "D"),
    (GREEN, "^"),
    (PURPLE, "v"),
    (ORANGE, "P"),
    (SKY, "s"),
    (GREY, "X"),
)

OUTCOME_COLOURS = {
    Outcome.FASTER: GREEN,
    Outcome.SLOWER: VERMILLION,
    Outcome.TIE: GREY,
    Outcome.FAILED: BLACK,
}

DPI = 150
# of the 9 point type that stands under a heading
LETTERS_PER_INCH = 14


def figure(width_in: float, height_in: float, heading: str, details: str) -> Any:
    """A figure with a bold heading and a smaller line or two, and the rest left to lay out."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    lines = textwrap.wrap(details, int(width_in * LETTERS_PER_INCH))
    top_in = 0.5 + 0.18 * len(lines)
    layout = ConstrainedLayoutEngine(
        w_pad=0.08, h_pad=0.06, wspace=0.05, rect=(0, 0, 1, 1 - top_in / height_in)
    )
    made = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout, facecolor="white")
    left, top = 0.12 / width_in, 1 - 0.12 / height_in
    made.text(left, top, heading, va="top", fontsize=13, fontweight="bold", color=BLACK)
    made.text(left, top - 0.28 / height_in, "\n".join(lines), va="top", fontsize=9, color=GREY)
    return made


def tidy(axes: Any, *, grid: str = "y") -> None:
    """Drop the frame's upper right and draw a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=BLACK, labelsize=9, length=3)
    axes.grid(visible=True, axis=grid, which="major", color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)


def save(made: Any, path: Path) -> None:
    """Write the PNG without a date or a version, so that equal records give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, format="png", metadata={"Software": None})
