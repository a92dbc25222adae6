"""README.md says what was measured, and names what there is."""

import re
from pathlib import Path

from benchmarks import results_table

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_results_are_those_that_are_recorded():
    """Every figure between the marks; benchmarks/results_table.py writes them anew."""
    (shown,) = results_table.MARKS.findall(TEXT)
    assert shown == results_table.section()


def test_files_that_are_linked_exist():
    """No link leads nowhere."""
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#]+)", prose)
    ours = [link for link in links if not link.startswith("http")]
    assert len(ours) > 3
    assert [link for link in ours if not (ROOT / link).exists()] == []


def test_counts_of_the_red_team_are_those_of_its_fixtures():
    """So many cheats and honest kernels as the folders hold."""
    folder = ROOT / "tests" / "redteam"
    cheats = len(list((folder / "cheats").glob("*/*.py")))
    honest = len(list((folder / "honest").glob("*.py")))
    assert f"judges {cheats} cheats and {honest} odd but honest kernels" in TEXT
