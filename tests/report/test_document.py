"""The report's text: every figure from the record, and nothing where nothing was measured."""

import dataclasses
import re

import builders as build
import pytest

from tritonexp import jobs, report
from tritonexp.records import Interval, Mode, Outcome, Status, StudyRecord, from_json, to_json
from tritonexp.report import document, reproduction, speed
from tritonexp.tracking.flatten import table_of


def section(text: str, title: str) -> str:
    """One section of a report, by the start of its title."""
    return next(part for part in text.split("\n## ") if part.startswith(title))


@pytest.fixture(scope="module")
def gpu_record():
    """A candidate timed beside baseline, expert and contenders."""
    return build.record(build.gpu_evaluation())


def test_report_keeps_the_original_study_order(gpu_record):
    """The sections come in the order of the study that the project generalises."""
    titles = re.findall(r"(?m)^## ([A-Z][\w -]*\w)", document.render(gpu_record))
    wanted = (
        "Objective",
        "Method",
        "Times",
        "Key metric",
        "Speed-ups over the baseline",
        "What the kernel does",
        "Why the comparison is valid",
        "Code",
        "Limits",
        "Good and poor candidates",
        "Artifacts",
        "How to reproduce",
        "Rating",
    )
    assert [title for title in titles if title in wanted] == list(wanted)


def test_times_are_those_of_the_record(gpu_record):
    """Every time in the table is a median or an interval end of the record, a floor or a mean."""
    shown = gpu_record.evaluation
    known = set()
    for trial in shown.trials:
        for item in trial.timings:
            values = (item.median_us, item.interval_us.low, item.interval_us.high, item.floor_us)
            known |= {f"{value:.{2 if value < 100 else 1}f}" for value in values}
    body = section(document.render(gpu_record), "Times")
    rows = [line for line in body.splitlines() if re.match(r"\| \d+x\d+ ", line)]
    assert len(rows) == len(build.SIZES)
    for row in rows:
        figures = re.findall(r"\d+\.\d+", row.rpartition(" | ")[0])
        assert len(figures) == 16  # five sides with intervals, and the floor
        assert set(figures) <= known


def test_every_speedup_carries_its_interval_and_word(gpu_record):
    """No speed-up stands without an interval and faster, slower or tie."""
    text = document.render(gpu_record)
    speedups = re.findall(r"\d+\.\d+x( \[\d+\.\d+, \d+\.\d+\] \((?:faster|slower|tie)\))?", text)
    assert len(speedups) > 30
    assert all(speedups)


def test_tie_is_called_tie():
    """A candidate within the margin of the expert is a tie, per size and over all."""
    like_the_expert = build.trial("candidate", medians_us=build.MEDIANS_US["liger"])
    evaluation = build.gpu_evaluation(candidate=like_the_expert)
    text = document.render(build.record(evaluation))
    assert evaluation.comparison("liger").outcome is Outcome.TIE
    assert re.search(r"Candidate / liger: \d\.\d+x \[[\d., ]+\] \(tie\)", text)
    assert "tie" in report.headline(build.record(evaluation))


@pytest.mark.parametrize(
    ("speedup", "word"),
    [
        (1.2, "excellent"),
        (0.9, "excellent"),
        (0.89, "good"),
        (0.7, "good"),
        (0.6, "adequate"),
        (0.5, "adequate"),
        (0.49, "poor"),
    ],
)
def test_assessment_follows_the_study_steps(speedup, word):
    """The words change at 0.9, 0.7 and 0.5 of the expert."""
    assert speed.assessment(speedup) == word


def test_interval_over_two_grades_is_told(gpu_record):
    """An assessment whose interval reaches into another grade says so."""
    evaluation = gpu_record.evaluation
    overall = evaluation.comparison("liger")
    wide = dataclasses.replace(overall, speedup=0.91, interval=Interval(low=0.85, high=0.95))
    others = tuple(item for item in evaluation.comparisons if item is not overall)
    record = build.record(dataclasses.replace(evaluation, comparisons=(*others, wide)))
    assert "reaches from good to excellent" in section(document.render(record), "Key metric")


def test_without_an_expert_the_comparison_is_two_way():
    """No expert: two-way, no assessment, and a dash in the expert's column."""
    text = document.render(build.record(build.gpu_evaluation(names=("baseline", "torch"))))
    assert "Two-way comparison" in text
    assert "Three-way" not in text
    assert "Assessment" not in text
    assert "Candidate / expert: -" in text
    rows = [line for line in section(text, "Times").splitlines() if line.startswith("| 1024x1024")]
    assert rows[0].endswith("| - |")


def test_missing_time_is_a_dash_with_its_reason():
    """An expert that could not run at one size has a dash there, and the mean is failed."""
    expert = build.trial("liger", missing=(3,), reason="needs 262144 bytes of shared memory")
    others = [build.trial(name) for name in ("baseline", "torch", "house")]
    evaluation = build.gpu_evaluation(references=(others[0], expert, *others[1:]))
    text = document.render(build.record(evaluation))
    row = next(
        line for line in section(text, "Times").splitlines() if line.startswith("| 8192x1024")
    )
    assert row.split(" | ")[2] == "-"
    assert "liger has no time at 8192x1024" in text
    assert "needs 262144 bytes of shared memory" in text
    assert "Candidate / liger: - (failed)" in text


def test_host_time_has_its_own_table(gpu_record):
    """Host times stand in their own section and in no other table."""
    text = document.render(gpu_record)
    host = f"{gpu_record.evaluation.candidate.timings[0].host_us:.2f}"
    assert host in section(text, "Host time")
    assert host not in section(text, "Times")


def test_interpreter_report_holds_no_time():
    """Without a GPU there are cases and compilation facts, and no microsecond or speed-up."""
    text = document.render(build.record(build.interpreter_evaluation()))
    body = text.partition("The ratings follow these rules")[0]
    assert "Not measured: there was no GPU" in text
    assert "36 of 36 cases passed" in text
    assert "Compiled for sm_90" in text
    assert not re.search(r"\d x|\dx \[|\d µs|Host time", body)


def test_recorded_evaluation_is_labelled_everywhere():
    """Every section with recorded figures names the GPU and the date."""
    label = "recorded on NVIDIA H200, 2026-11-22"
    record = build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    )
    text = document.render(record)
    for title in ("Times", "Key metric", "Speed-ups", "Host time", "Why", "What the kernel"):
        assert label in section(text, title)
    assert "measured on" not in text.replace("Ceilings were measured on", "")
    assert label in report.headline(record)


def test_times_of_an_own_gpu_run_are_not_called_recorded(gpu_record):
    """What this run measured is labelled as measured."""
    assert "measured on NVIDIA H200, 2026-11-22" in document.render(gpu_record)
    assert "recorded on" not in document.render(gpu_record)


def test_incorrect_kernel_gets_failing_cases_and_log():
    """A wrong kernel's report shows the status, the failing cases and the end of the log."""
    log = "\n".join(f"line {number}" for number in range(100))
    evaluation = build.interpreter_evaluation(
        status=Status.INCORRECT, failing=7, reason="error 73251 ulp", log=log
    )
    text = document.render(build.record(evaluation, reason="error 73251 ulp, allowed 8"))
    result = section(text, "Result")
    assert "**INCORRECT**: error 73251 ulp, allowed 8" in result
    assert "7 of 36 cases failed" in result
    assert result.count("| INCORRECT |") == 7
    assert "line 99" in result
    assert "line 59" not in result


def test_response_without_code_gets_a_report(tmp_path):
    """NO_CODE has a full report and both pictures."""
    record = build.record(None, source=None, reason="no block defines softmax")
    report.write(record, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "**NO_CODE**: no block defines softmax" in text
    assert "## Rating" in text
    assert (tmp_path / "plots" / "llm_vs_expert.png").is_file()


def test_unparsable_source_gets_a_report():
    """A syntax error in the candidate is shown word for word and rated 0 for its code."""
    record = build.record(
        None, source="def softmax(x:\n", status=Status.SYNTAX_ERROR, reason="line 1"
    )
    text = document.render(record)
    assert "The source does not parse" in text
    assert "| Code quality | 0 / 5 |" in text
    assert "def softmax(x:" in text


def test_source_with_fences_stays_inside_its_block():
    """Backticks in the candidate cannot close the report's code block."""
    source = '"""```\n# not a heading\n```"""\n'
    text = document.render(build.record(None, source=source, status=Status.MISSING_ENTRY_POINT))
    assert "````python\n" + source.rstrip() + "\n````" in text


def test_round_tripped_record_gives_the_same_report(tmp_path):
    """A record read back from JSON gives the same text and the same pictures."""
    record = build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    )
    again = from_json(StudyRecord, to_json(record))
    for name, item in (("first", record), ("second", again)):
        report.write(item, tmp_path / name)
    for path in ("report.md", "plots/comparison.png", "plots/llm_vs_expert.png"):
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes()


def test_command_names_every_choice_and_quotes_sizes():
    """The command to reproduce holds all choices and custom sizes, quoted for a shell."""
    record = build.record(
        build.gpu_evaluation(),
        seed=7,
        config={"model": {"sample": 2}, "sizes": {"custom": [[1823, 781]]}, "strategy": {"n": 3}},
    )
    told = reproduction.command(record)
    for part in (
        "operation=softmax",
        "model=recorded",
        "prompt=baseline_only",
        "expert=auto",
        "seed=7",
        "model.sample=2",
        "strategy.n=3",
        "'sizes.custom=[[1823,781]]'",
    ):
        assert part in told.split()


def test_implausible_times_are_said_not_to_count():
    """Times that the referee does not believe are shown with that warning and rated 0."""
    subject = build.trial("candidate", status=Status.IMPLAUSIBLE, reason="1.4 of the ceiling")
    text = document.render(build.record(build.gpu_evaluation(candidate=subject)))
    assert "do not count" in section(text, "Times")
    assert "| Performance | 0 / 5 |" in text
    assert "no valid time" in section(text, "Good and poor candidates")


def test_builders_keep_the_modes_apart():
    """The test data itself: an interpreter evaluation holds no time."""
    evaluation = build.interpreter_evaluation()
    assert evaluation.mode is Mode.INTERPRETER
    assert not any(trial.timings for trial in evaluation.trials)


RECORDS = {
    "timed": lambda: build.record(build.gpu_evaluation()),
    "doubtful": lambda: build.record(
        build.gpu_evaluation(
            candidate=build.trial(
                "candidate", medians_us=[0.99 * value for value in build.MEDIANS_US["liger"]]
            )
        )
    ),
    "interpreted": lambda: build.record(build.interpreter_evaluation()),
    "recorded": lambda: build.record(
        build.interpreter_evaluation(), recorded_evaluation=build.gpu_evaluation()
    ),
    "no code": lambda: build.record(None, source=None, reason="no block"),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_artifacts_are_those_of_the_run(kind, tmp_path):
    """What the report names is what the job's folder and MLflow's table of times come to."""
    record = RECORDS[kind]()
    (tmp_path / "record.json").write_text(to_json(record))
    jobs.fill(tmp_path)
    named = set(re.findall(r"(?m)^- `([^`]+)`", section(document.render(record), "Artifacts")))
    there = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    if table_of(record.evaluation):
        there.add("timings.json")
    assert named == there - {"report.md"}
    assert ("plots/rounds.png" in named) is (kind == "doubtful")


def without_parts(trial):
    """A side of which neither compiling nor autotuning nor launches were counted."""
    compiled = build.interpreter_evaluation().candidate.compiled
    bare = [
        dataclasses.replace(item, num_stages=None, blocks_per_sm=None, occupancy=None)
        for item in compiled
    ]
    return dataclasses.replace(trial, compile_s=None, autotune_s=None, compiled=tuple(bare))


def test_rows_and_columns_of_nothing_but_dashes_are_left_out():
    """What an earlier version did not measure is not told as so many dashes."""
    evaluation = build.gpu_evaluation()
    bare = dataclasses.replace(
        evaluation,
        candidate=without_parts(evaluation.candidate),
        references=tuple(map(without_parts, evaluation.references)),
    )
    full, less = (document.render(build.record(one)) for one in (evaluation, bare))
    assert "of it Triton's compiler (s)" in section(full, "Host time")
    assert "of it" not in section(less, "Host time")
    assert "| first call (s) | 0.45" in section(less, "Host time")
    assert "the workers themselves say" not in section(less, "Host time")
    kernels = section(less, "What the kernel does")
    assert "Launches per call at" not in kernels
    assert "| warps | registers | shared memory | spills (B per thread) | fits |" in kernels


def test_tables_explain_their_ratios(gpu_record):
    """Where ratios stand, one line says that more than 1 means that the first is faster."""
    text = document.render(gpu_record)
    for title in ("Times", "Speed-ups over the baseline"):
        assert "above 1x means that the first is faster" in section(text, title)
