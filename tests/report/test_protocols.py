"""A sweep over timing protocols: what each clock says of the same kernel."""

import dataclasses

import builders as build
import pytest

from tritonexp import report
from tritonexp.records import Clock, Outcome, Role, Status
from tritonexp.report import groups, matching, protocols, protocols_plot, style, words
from tritonexp.statistics import compare

# the expert's host code is slow; the candidate's is hidden behind its kernel at 4096x4096
HOST_US = {
    "candidate": (20.0, 21.0, 34.0, 22.0),
    "baseline": (60.0, 61.0, 180.0, 90.0),
    "liger": (900.0, 905.0, 910.0, 915.0),
}
HOST_PROTOCOL = dataclasses.replace(
    build.PROTOCOL, name="host_clock", clock=Clock.HOST, cold_factor=0.0
)
DEVICE_NAMES = ("baseline", "liger")


def by_host(medians_us=HOST_US, names=DEVICE_NAMES):
    """An evaluation by the host's clock, which knows neither a floor nor eager calls."""

    def hosted(name):
        trial = build.trial(name, medians_us=medians_us[name])
        return dataclasses.replace(
            trial,
            timings=tuple(
                dataclasses.replace(
                    item,
                    clock=Clock.HOST,
                    host_us=None,
                    floor_us=None,
                    floor_kind=None,
                    fraction_of_ceiling=None,
                )
                for item in trial.timings
            ),
        )

    sides = {name: hosted(name) for name in ("candidate", *names)}
    found = []
    for reference in names:
        found += compare(
            "candidate",
            reference,
            sides["candidate"].timings,
            sides[reference].timings,
            build.SIZES,
            Clock.HOST,
            HOST_PROTOCOL.margin,
            0,
        )
    return dataclasses.replace(
        build.gpu_evaluation(),
        protocol=HOST_PROTOCOL,
        candidate=sides["candidate"],
        references=tuple(sides[name] for name in names),
        comparisons=tuple(found),
    )


def job(timing, evaluation=None, **choices):
    """A run by a protocol; on the H200, unless an evaluation is given."""
    if evaluation is None:
        evaluation = (
            by_host() if timing == "host_clock" else build.gpu_evaluation(names=DEVICE_NAMES)
        )
    return build.record(evaluation, study_id=f"study-{timing}-{choices}", timing=timing, **choices)


def section_of(*records):
    """The section of a sweep of these runs."""
    return protocols.section(matching.matches(records), records)


def rows_of(text, first):
    """The cells of the table rows that begin with a cell."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {first} |")
    ]


def test_ratios_are_each_runs_own():
    """Device before host, expert before baseline, with the words of the records' comparisons."""
    device, host = job("device"), job("host_clock")
    text = section_of(host, device)
    assert (
        "| size | candidate / liger, device | candidate / liger, host_clock"
        " | candidate / baseline, device | candidate / baseline, host_clock |" in text
    )
    ratios = rows_of(text, "1024x1024")[0]
    own = host.evaluation.comparison("liger", build.SIZES[0])
    assert own.speedup == pytest.approx(45, rel=0.01)
    assert ratios[2].startswith(f"{own.speedup:.1f}x [")
    assert ratios[2].endswith("(faster)")
    assert ratios[1] == words.verdict(device.evaluation.comparison("liger", build.SIZES[0]))
    assert len(rows_of(text, "geometric mean")) == 1


def test_times_stand_side_by_side_with_what_is_not_the_devices():
    """Both clocks' medians, their difference and quotient, and the device run's eager call."""
    rows = rows_of(section_of(job("device"), job("host_clock")), "1024x1024")
    candidate, expert, baseline = rows[1:]
    assert [row[1] for row in (candidate, expert, baseline)] == ["candidate", "liger", "baseline"]
    assert candidate[2].startswith("4.10 [")
    assert candidate[3].startswith("20.00 [")
    assert candidate[4:] == ["15.90", "4.88x", "33.10"]
    assert expert[4:] == ["895.5", "200x", "33.50"]


def test_sentences_explain_the_difference_from_the_figures():
    """The claim against the verdict, what is not the device's, launch overhead, the host code."""
    device, host = job("device"), job("host_clock")
    text = section_of(device, host)
    claimed, said = (one.evaluation.comparison("liger") for one in (host, device))
    assert (claimed.outcome, said.outcome) == (Outcome.FASTER, Outcome.FASTER)
    assert f"reaches {100 * claimed.speedup:,.0f} % of liger, {claimed.speedup:.1f}x [" in text
    assert f"reaches {100 * said.speedup:.0f} % of liger, {said.speedup:.3f}x [" in text
    assert (
        "candidate -1.50 to 15.90 µs; liger 870.9 to 895.5 µs; baseline -9.60 to 36.00 µs" in text
    )
    # at 2048x2048 the candidate takes twice as long by the host's clock, and not more
    assert "candidate at 1024x1024; liger at every size; baseline at 1024x1024." in text
    assert "Below 0: candidate at 4096x4096; baseline at 4096x4096, 8192x1024." in text
    assert (
        "device calls on rotating buffers of at least 3 times the L2, as far as 512 sets reach;"
        " host_clock on one buffer, which stays warm" in text
    )
    assert "+876.0 to +893.0 µs by host_clock, +0.40 to +3.60 µs by device" in text
    assert "liger 33.50 to 68.10 µs, of which the device's 4.50 to 39.10 µs" in text


def test_verdicts_that_differ_are_named():
    """Where the clocks' words differ, the sizes are listed with both words."""
    slow = HOST_US | {"liger": (10.0, 905.0, 910.0, 915.0)}
    text = section_of(job("device"), job("host_clock", by_host(slow)))
    assert "The verdicts differ at 1024x1024 (slower against faster)." in text


def test_without_an_expert_the_baseline_is_the_reference():
    """A two-way sweep claims of the baseline, and has no line on an expert's host code."""
    text = section_of(
        job("device", build.gpu_evaluation(names=("baseline",))),
        job("host_clock", by_host(names=("baseline",))),
    )
    assert "% of baseline, 3." in text
    assert "liger" not in text
    assert "What a call of" not in text


def test_one_protocol_has_no_section(tmp_path):
    """A sweep by one protocol says nothing of protocols, and an old picture goes."""
    (tmp_path / "protocols.png").write_bytes(b"old")
    report.write_comparison([job("device", seed=0), job("device", seed=1)], "s", tmp_path)
    assert "Timing protocols" not in (tmp_path / "comparison.md").read_text()
    assert not (tmp_path / "protocols.png").exists()


def test_comparison_holds_the_section_and_its_picture(tmp_path):
    """comparison.md of a sweep over protocols has the section once, beside its picture."""
    report.write_comparison([job("device"), job("host_clock")], "s", tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert text.count("## Timing protocols") == 1
    assert "(protocols.png)" in text
    assert (tmp_path / "protocols.png").stat().st_size > 10_000


def test_a_failed_run_is_one_line():
    """A run that failed has its status and reason in one line, and there is no table."""
    subject = build.trial("candidate", status=Status.STALE_RESULT, reason="kept")
    failed = job("host_clock", dataclasses.replace(by_host(), candidate=subject))
    (line,) = section_of(job("device"), failed).splitlines()[2:]
    assert line == (
        "- softmax/recorded/baseline_only: the protocols cannot be compared. device: timed;"
        " host_clock: ended as STALE_RESULT (kept)."
    )


def test_without_a_gpu_nothing_is_claimed(tmp_path):
    """Runs without a GPU say so in one line, and what was recorded earlier is not used."""
    records = [
        dataclasses.replace(
            job(timing, build.interpreter_evaluation()),
            recorded_evaluation=build.gpu_evaluation(),
        )
        for timing in ("device", "host_clock")
    ]
    (line,) = section_of(*records).splitlines()[2:]
    assert line.count("not timed, since there was no GPU") == 2
    assert protocols_plot.draw(matching.matches(records), "s", tmp_path / "a.png") is False


def test_different_kernels_are_not_compared():
    """Two answers of a model that is asked twice are two kernels, each by one protocol."""
    other = build.record(by_host(), source="x = 1\n", timing="host_clock", study_id="other")
    records = [job("device"), other]
    assert not any(match.is_comparable for match in matching.matches(records))
    text = section_of(*records)
    assert text.count("no run of this kernel") == 2
    assert text.count("(kernel ") == 2


def test_settings_that_vary_keep_runs_apart():
    """Runs of different seeds are matched each with its own, and named by the seed."""
    records = [job(timing, seed=seed) for timing in ("device", "host_clock") for seed in (0, 1)]
    found = matching.matches(records)
    assert [match.name for match in found] == [
        "softmax/recorded/baseline_only seed=0",
        "softmax/recorded/baseline_only seed=1",
    ]
    assert all(len(match.timed) == 2 for match in found)


def test_a_missing_expert_time_is_a_dash():
    """Where the expert failed its figures are dashes, and the baseline's are there."""
    failed = build.trial("liger", status=Status.RUNTIME_ERROR, reason="too wide")
    device = build.gpu_evaluation(references=(build.trial("baseline"), failed))
    text = section_of(job("device", device), job("host_clock"))
    ratios, _, expert, baseline = rows_of(text, "1024x1024")
    assert ratios[1] == "- (failed)"
    assert expert[2] == expert[4] == expert[5] == "-"
    assert baseline[4] == "36.00"
    assert "liger ended as RUNTIME_ERROR (too wide)" in text
    assert "there is no ratio to liger by both (device: " in text
    assert "**By host_clock alone**" not in text


def test_a_repeated_run_is_told():
    """Of two runs by one protocol the first stands, and the line says of how many."""
    again = dataclasses.replace(job("device"), study_id="later", started="2026-11-23T00:00:00")
    text = section_of(again, job("device"), job("host_clock"))
    assert "the first of 2 runs" in text


def test_groups_never_pool_protocols():
    """The sweep's own tables keep runs of different protocols apart."""
    found = groups.group([job("device"), job("host_clock")])
    assert [(group.setting, len(group.jobs)) for group in found] == [
        ("timing=device", 1),
        ("timing=host_clock", 1),
    ]


def test_device_figures_recorded_earlier_are_not_a_host_clock_jobs():
    """Without a GPU a job by another protocol than the recorded one shows no speed-up."""
    device, host = groups.group(
        [
            dataclasses.replace(
                job(timing, build.interpreter_evaluation()),
                recorded_evaluation=build.gpu_evaluation(),
            )
            for timing in ("device", "host_clock")
        ]
    )
    assert device.speedup("baseline") is not None
    assert host.speedup("baseline") is None
    assert host.jobs[0].where == "interpreter, not timed"


def test_sides_are_found_by_their_role():
    """The picture and the tables take the expert by its role, whatever its name."""
    (match,) = matching.matches([job("device"), job("host_clock")])
    assert match.references == (Role.EXPERT, Role.BASELINE)
    assert match.name_of(Role.EXPERT) == "liger"
    assert [run.protocol for run in match.runs] == ["device", "host_clock"]


def test_the_picture_says_where_a_ratio_is_missing(tmp_path, monkeypatch):
    """A ratio that failed is an x, which only then is explained."""
    saved = []
    monkeypatch.setattr(style, "save", lambda made, _: saved.append(made))
    failed = build.trial("liger", status=Status.RUNTIME_ERROR, reason="too wide")
    lacking = build.gpu_evaluation(references=(build.trial("baseline"), failed))
    for device in (build.gpu_evaluation(names=DEVICE_NAMES), lacking):
        found = matching.matches([job("device", device), job("host_clock")])
        assert protocols_plot.draw(found, "s", tmp_path / "a.png") is True
    whole, broken = [" ".join(text.get_text() for text in made.texts) for made in saved]
    assert "x at the foot: no ratio" not in whole
    assert "x at the foot: no ratio" in broken
    marks = [line for line in saved[1].axes[0].lines if line.get_marker() == "x"]
    assert len(marks) == len(build.SIZES) + 1
