"""Pictures are written for every kind of record, and differ with what they show."""

import re
import struct

import builders as build
import pytest

from tritonexp import report
from tritonexp.records import Size, Status
from tritonexp.report import plots, view
from tritonexp.report.plots import key_metric, shared

RECORDS = {
    "three-way": lambda: build.record(build.gpu_evaluation()),
    "two-way": lambda: build.record(build.gpu_evaluation(names=("baseline", "torch"))),
    "baseline only": lambda: build.record(build.gpu_evaluation(names=("baseline",))),
    "interpreter": lambda: build.record(build.interpreter_evaluation()),
    "recorded": lambda: build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    ),
    "incorrect": lambda: build.record(
        build.interpreter_evaluation(status=Status.INCORRECT, failing=7), reason="wrong"
    ),
    "expert missing a size": lambda: build.record(
        build.gpu_evaluation(
            references=(build.trial("baseline"), build.trial("liger", missing=(0,)))
        )
    ),
    "no code": lambda: build.record(None, source=None, reason="no block"),
}


def size_of(path):
    """Width and height of a PNG."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize("kind", RECORDS)
def test_both_pictures_are_written(kind, tmp_path):
    """Each kind of record gives two PNGs of some size."""
    record = RECORDS[kind]()
    for name, draw in (("a.png", plots.draw_comparison), ("b.png", plots.draw_key_metric)):
        draw(record, tmp_path / name)
        width, height = size_of(tmp_path / name)
        assert width >= 1300
        assert height >= 150
        assert (tmp_path / name).stat().st_size > 5_000


def test_key_metric_without_an_expert_says_so():
    """The heading names what the candidate is compared with instead."""
    shown = view.timed(RECORDS["two-way"]())
    reference, heading = key_metric.rival(shown)
    assert reference == "torch"
    assert heading == "No human expert for this operation: candidate against torch"


def test_recorded_times_are_labelled_in_the_heading():
    """A picture of recorded times carries GPU and date."""
    shown = view.timed(RECORDS["recorded"]())
    assert key_metric.rival(shown)[1].endswith("(recorded on NVIDIA H200, 2026-11-22)")


def test_equal_records_give_equal_pictures(tmp_path):
    """No clock and no random number gets into a picture."""
    for name in ("first.png", "second.png"):
        plots.draw_comparison(RECORDS["three-way"](), tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


@pytest.mark.parametrize(("extents", "angle"), [((1024, 1024), 0), ((1024, 1024, 1024), 30)])
def test_names_of_sizes_are_turned_before_they_overlap(extents, angle):
    """Four sizes of two extents stand level in half a picture, four of three are turned."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    size = Size(axes=tuple("mnk"[: len(extents)]), extents=extents)
    shared.label_sizes(axes, [size] * 4, ["1.95 µs"] * 4)
    labels = axes.get_xticklabels()
    assert {label.get_rotation() for label in labels} == {angle}
    assert all(label.get_text().startswith(size.label) for label in labels)
    assert all(label.get_text().endswith("1.95 µs") for label in labels)


@pytest.mark.parametrize("kind", RECORDS)
def test_report_embeds_the_pictures_that_exist(kind, tmp_path):
    """Every picture that the report embeds is written, and those of doubt and ceiling embedded."""
    report.write(RECORDS[kind](), tmp_path)
    text = (tmp_path / "report.md").read_text()
    written = {f"plots/{path.name}" for path in (tmp_path / "plots").iterdir()}
    embedded = set(re.findall(r"!\[[^\]]+\]\((plots/[^)]+)\)", text))
    assert embedded <= written
    assert {"plots/ceiling.png", "plots/rounds.png"} & written <= embedded


def test_picture_of_an_earlier_report_does_not_stay(tmp_path):
    """A folder that held a record with times holds no ceiling of it after one without."""
    report.write(RECORDS["three-way"](), tmp_path)
    assert (tmp_path / "plots" / "ceiling.png").is_file()
    report.write(RECORDS["interpreter"](), tmp_path)
    assert not (tmp_path / "plots" / "ceiling.png").exists()
