"""The looks that all pictures share: colours, markers, titles.

Uses matplotlib's Figure directly, so that no global state of pyplot is touched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
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
HEADING_PT, DETAILS_PT, LEGEND_PT = 13.0, 9.0, 9.0
# from a line of text to the next, and from the picture's edges to its text
HEADING_STEP_IN, DETAILS_STEP_IN, EDGE_IN = 0.25, 0.18, 0.12
# of a legend's entry, beside its text
HANDLE_IN = 0.6


def figure(width_in: float, height_in: float, heading: str, details: str) -> Any:
    """A figure with a bold heading, smaller lines below it, and the rest left to lay out."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    room_in = width_in - 2 * EDGE_IN
    head = lines_of(heading, room_in, HEADING_PT, bold=True)
    below = lines_of(details, room_in, DETAILS_PT)
    details_at_in = EDGE_IN + 0.03 + HEADING_STEP_IN * len(head)
    top_in = details_at_in + 0.1 + DETAILS_STEP_IN * len(below)
    # a second line of the heading takes nothing from the panels
    height_in += HEADING_STEP_IN * (len(head) - 1)
    layout = ConstrainedLayoutEngine(
        w_pad=0.08, h_pad=0.06, wspace=0.05, rect=(0, 0, 1, 1 - top_in / height_in)
    )
    made = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout, facecolor="white")
    for lines, at_in, size_pt, weight, colour in (
        (head, EDGE_IN, HEADING_PT, "bold", BLACK),
        (below, details_at_in, DETAILS_PT, "normal", GREY),
    ):
        made.text(
            EDGE_IN / width_in,
            1 - at_in / height_in,
            "\n".join(lines),
            va="top",
            fontsize=size_pt,
            fontweight=weight,
            color=colour,
        )
    return made


def lines_of(text: str, width_in: float, size_pt: float, *, bold: bool = False) -> list[str]:
    """A text in as few lines as it takes, about equally long, so that no word stands alone.

    Smaller lines end behind a semicolon, and a heading's behind a colon or before a bracket, where
    the parts between these fit.
    """
    parts = re.split(r"(?<=:) | (?=\()" if bold else "(?<=;) ", text)
    if any(width_of(part, size_pt, bold=bold) > width_in for part in parts):
        parts = text.split(" ")
    filled = _filled(parts, width_in, size_pt, bold=bold)
    # the narrowest lines that are as many
    low, high = 0.0, width_in
    for _ in range(12):
        middle = (low + high) / 2
        tried = _filled(parts, middle, size_pt, bold=bold)
        if len(tried) > len(filled):
            low = middle
        else:
            high, filled = middle, tried
    return filled


def _filled(parts: Sequence[str], width_in: float, size_pt: float, *, bold: bool) -> list[str]:
    """Lines that take as many parts as fit; one that is too long has a line of its own."""
    lines: list[str] = []
    for part in parts:
        if lines and width_of(f"{lines[-1]} {part}", size_pt, bold=bold) <= width_in:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines


@cache
def width_of(text: str, size_pt: float, *, bold: bool = False) -> float:
    """How many inches a line of text takes when it is drawn."""
    from matplotlib.font_manager import FontProperties

    font = FontProperties(weight="bold" if bold else "normal", size=size_pt)
    width, _, _ = _renderer().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / DPI


@cache
def _renderer() -> Any:
    """What draws the pictures; letters at its resolution are wider than their outlines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()


def legend_columns(names: Sequence[str], width_in: float) -> int:
    """How many entries of a legend fit beside each other."""
    widest = HANDLE_IN + max(width_of(name, LEGEND_PT) for name in names)
    return max(1, min(len(names), int(width_in / widest)))


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
