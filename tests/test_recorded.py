"""What of a recorded evaluation is shown: what was asked for, and nothing else."""

import dataclasses
import re

import builders as build
import pytest

from tritonexp import recorded
from tritonexp.records import (
    Calibration,
    Clock,
    ClockLog,
    DramTraffic,
    Interval,
    Mode,
    Profile,
    SelfComparison,
    Size,
    Status,
    to_json,
)
from tritonexp.statistics import compare, geometric_mean

SOURCE = build.CANDIDATE_SOURCE
SMALL = Size(axes=("rows", "cols"), extents=(64, 64))
ASKED = recorded.Asked(
    sizes=build.SIZES,
    protocol=build.PROTOCOL,
    choice="auto",
    expert="liger",
    contenders=("torch", "house"),
    profiler=None,
)


def show(evaluation=None, seed=0, **asked):
    """What is shown of one recorded evaluation."""
    recording = recorded.Recording(evaluation=evaluation or build.gpu_evaluation(), seed=seed)
    return recorded.show([recording], dataclasses.replace(ASKED, **asked))


def names(evaluation):
    """List the references."""
    return [trial.implementation.name for trial in evaluation.references]


def test_all_that_was_asked_for_is_shown_as_it_is():
    """Nothing is computed anew, and there is nothing to be said."""
    evaluation = build.gpu_evaluation()
    shown = show(evaluation)
    assert shown == recorded.Shown(evaluation=evaluation, is_whole=True, notes=())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "host_clock", "clock": Clock.HOST}, "by timing=device, not host_clock"),
        ({"clock": Clock.EVENTS}, r"timing=device with timing\.clock=graph, not events"),
        ({"cold_factor": 0.0}, r"timing=device with timing\.cold_factor=3\.0, not 0\.0"),
    ],
)
def test_nothing_is_shown_of_another_protocol(changes, said):
    """A time by another clock, or on warm data, is another quantity."""
    shown = show(protocol=dataclasses.replace(build.PROTOCOL, **changes))
    assert (shown.evaluation, shown.is_whole) == (None, False)
    (note,) = shown.notes
    assert re.search(said, note)
    assert note.endswith("so no times are shown.")


def test_more_rounds_are_the_same_quantity():
    """How often a time is taken says nothing against it."""
    assert show(protocol=dataclasses.replace(build.PROTOCOL, rounds=99)).is_whole


def test_no_size_that_was_asked_for_shows_nothing():
    """The line says at which sizes it was recorded, and which were asked for."""
    shown = show(sizes=(SMALL,))
    assert (shown.evaluation, shown.is_whole) == (None, False)
    (note,) = shown.notes
    assert "at 1024x1024, 2048x2048, 4096x4096, 8192x1024, not at 64x64" in note


@pytest.mark.parametrize("extra", [(), (SMALL,)])
def test_only_the_sizes_that_were_asked_for_count(extra):
    """What is said over all sizes is computed from the rounds at those that are shown."""
    whole = build.gpu_evaluation()
    sizes = (build.SIZES[2], build.SIZES[0])
    shown = show(whole, seed=5, sizes=(*sizes, *extra))
    found = shown.evaluation
    # in the order of the record
    assert found.sizes == (build.SIZES[0], build.SIZES[2])
    for trial in found.trials:
        assert [timing.size for timing in trial.timings] == list(found.sizes)
    assert {item.size for item in found.comparisons} == {*sizes, None}
    assert len(found.comparisons) == len(whole.comparisons) * 3 // 5
    for item in found.comparisons:
        if item.size is not None:
            assert item in whole.comparisons
            continue
        sides = {trial.implementation.name: trial for trial in whole.trials}
        *_, expected = compare(
            item.subject,
            item.reference,
            sides[item.subject].timings,
            sides[item.reference].timings,
            found.sizes,
            Clock.GRAPH,
            build.PROTOCOL.margin,
            5,
        )
        assert item == expected
        each = [
            found.comparison(item.reference, size, item.subject).speedup for size in found.sizes
        ]
        assert item.speedup == pytest.approx(geometric_mean(each))
    assert shown.is_whole is not bool(extra)
    assert [("64x64" in note, "1024x1024, 4096x4096" in note) for note in shown.notes] == (
        [(True, True)] if extra else []
    )
    # it is kept in a record
    assert to_json(build.record(recorded_evaluation=found))


def test_sizes_beyond_the_recorded_are_told_and_leave_the_figures():
    """All that is recorded is shown as it is; only the line and the sizes tell of the rest."""
    whole = build.gpu_evaluation()
    shown = show(whole, sizes=(*build.SIZES, SMALL))
    assert shown.evaluation == whole
    assert not shown.is_whole
    assert recorded.lacking_sizes((*build.SIZES, SMALL), shown.evaluation) == (SMALL,)
    assert recorded.lacking_sizes(build.SIZES, shown.evaluation) == ()


def test_what_else_is_told_of_a_size_goes_with_it():
    """Clocks, memory traffic and the calibration are of the sizes that are shown."""

    def log(size):
        return ClockLog(
            size=size, samples=(), measured_again=0, unsteady=(), rule="none", reason=""
        )

    def dram(size):
        return DramTraffic(
            size=size,
            dtype="float32",
            kernels=1,
            read_bytes=1,
            written_bytes=1,
            kernel_us=1.0,
            reason="",
        )

    def itself(size):
        span = Interval(low=1.0, high=1.0)
        return SelfComparison(
            size=size, pairs=1, false_verdicts=0, ratios=span, usual_reach=0.0, largest_reach=0.0
        )

    whole = build.gpu_evaluation()
    candidate = dataclasses.replace(whole.candidate, dram=tuple(map(dram, build.SIZES)))
    whole = dataclasses.replace(
        whole,
        candidate=candidate,
        profile=Profile(tool="ncu", reason=""),
        clock_logs=tuple(map(log, build.SIZES)),
        calibration=Calibration(
            date="2026-11-22",
            gpu_name="NVIDIA H200",
            operation="softmax",
            source_sha256="0",
            dtype="float32",
            protocol=build.PROTOCOL,
            sizes=tuple(map(itself, build.SIZES)),
        ),
    )
    size = build.SIZES[1]
    found = show(whole, sizes=(size,), profiler="ncu").evaluation
    for items in (found.clock_logs, found.calibration.sizes, found.candidate.dram):
        assert [item.size for item in items] == [size]
    unprofiled = show(whole).evaluation
    assert (unprofiled.profile, unprofiled.candidate.dram) == (None, ())


@pytest.mark.parametrize(
    ("contenders", "shown", "said"),
    [
        ((), [], None),
        (("house",), ["house"], None),
        (("compile", "torch"), ["torch"], "holds no times of compile (contenders)"),
    ],
)
def test_contenders_are_those_that_were_asked_for(contenders, shown, said):
    """Others are left out everywhere, and one that was never recorded is named."""
    found = show(contenders=contenders)
    assert names(found.evaluation) == ["baseline", "liger", *shown]
    told = {
        name for item in found.evaluation.comparisons for name in (item.subject, item.reference)
    }
    assert told == {"candidate", "baseline", "liger", *shown}
    assert [said in note for note in found.notes] == ([True] if said else [])


def test_what_a_gpu_found_wrong_is_wrong_at_any_size():
    """No time was taken, so the sizes and the protocol say nothing against it."""
    wrong = dataclasses.replace(
        build.gpu_evaluation(),
        candidate=build.trial("candidate", status=Status.INCORRECT, timed=False),
        references=(build.trial("baseline", timed=False),),
        comparisons=(),
    )
    shown = show(wrong, sizes=(SMALL,), protocol=dataclasses.replace(ASKED.protocol, name="other"))
    assert shown.is_whole
    assert shown.evaluation.status is Status.INCORRECT
    assert shown.notes == ()
    assert recorded.lacking_sizes((SMALL,), shown.evaluation) == ()


def test_the_recording_that_fits_best_is_taken():
    """A later one by another protocol, or at fewer sizes, does not hide what was asked for."""
    whole = build.gpu_evaluation()
    hosted = dataclasses.replace(
        whole, protocol=dataclasses.replace(build.PROTOCOL, name="host_clock")
    )
    fewer = show(whole, sizes=build.SIZES[:1]).evaluation
    recordings = [recorded.Recording(evaluation=one, seed=0) for one in (hosted, fewer, whole)]
    assert recorded.show(recordings, ASKED).evaluation == whole
    # of equal ones the first, which is the latest
    later = recorded.Recording(evaluation=dataclasses.replace(whole, duration_s=9.0), seed=0)
    assert recorded.show([later, recordings[2]], ASKED).evaluation.duration_s == 9.0


def test_recordings_go_by_the_source_and_the_latest_comes_first(tmp_path):
    """Those of an interpreter do not count, and the seed of each is kept with it."""
    shelf = tmp_path / "h200"
    shelf.mkdir()
    for name, date, seed in (
        ("a", "2026-11-01", 1),
        ("b", "2026-11-03", 2),
        ("c", "2026-11-02", 3),
    ):
        evaluation = dataclasses.replace(
            build.gpu_evaluation(), environment=build.environment(date=date)
        )
        (shelf / f"{name}.json").write_text(to_json(build.record(evaluation, seed=seed)))
    (shelf / "d.json").write_text(to_json(build.record(build.interpreter_evaluation())))
    ((found,),) = [list(recorded.recordings_in(tmp_path).values())]
    assert [item.seed for item in found] == [2, 3, 1]
    assert {item.evaluation.mode for item in found} == {Mode.GPU}
