"""The report's tables of times and speed-ups, and its key metric.

Device time decides; host time has a table of its own and is never mixed in.
Does not cover a record without times, beyond saying why there are none.
"""

from __future__ import annotations

from tritonexp.records import Clock, Evaluation, Mode, Role, Status, StudyRecord, Trial
from tritonexp.report import view, words

GRADES = ((0.9, "excellent"), (0.7, "good"), (0.5, "adequate"))


def times(record: StudyRecord, shown: view.Timed | None) -> str:
    """Times per size and side, by the clock that decides."""
    if shown is None:
        evaluation = record.evaluation
        if evaluation is None:
            why = "nothing was run"
        elif evaluation.mode is Mode.INTERPRETER:
            why = "there was no GPU, and no evaluation of the same source is recorded"
        else:
            why = f"the candidate ended as {evaluation.status}"
        return f"## Times\n\nNot measured: {why}."
    evaluation = shown.evaluation
    clock = view.CLOCK_NAMES[shown.clock]
    trials = _by_role(evaluation)
    rows = []
    for size in evaluation.sizes:
        floors = [item.floor_us for trial in trials if (item := trial.timing_at(size))]
        floor = next((value for value in floors if value is not None), None)
        rows.append(
            [
                size.label,
                *(
                    words.timing(
                        item := trial.timing_at(size), " *" if view.uncaptured(item) else ""
                    )
                    for trial in trials
                ),
                words.time_us(floor),
                words.verdict(shown.versus_expert(size)),
            ]
        )
    rows.append(
        [
            "geometric mean",
            *(words.time_us(view.mean_us(trial, evaluation)) for trial in trials),
            words.MISSING,
            words.verdict(shown.versus_expert()),
        ]
    )
    lines = [
        f"## Times ({clock}, {shown.label})",
        "",
        (
            f"Microseconds per call, {evaluation.dtype}: median over the rounds with its 95 %"
            " interval,"
            f" by {view.CLOCK_METHODS[shown.clock]}. The floor is the least time that the measured"
            " ceiling allows. The geometric mean is over the sizes, and is - where a size is"
            f" missing. {words.RATIO_RULE}"
        ),
        "",
        words.table(
            ["size", *(_column(trial) for trial in trials), "floor", "candidate / expert"], rows
        ),
    ]
    if any(view.uncaptured(item) for trial in trials for item in trial.timings):
        lines += ["", f"\\* {view.CLOCK_METHODS[Clock.EVENTS]}: this call could not be captured."]
    lines += _absences(shown)
    lines += ["", "![Times and speed-ups per size](plots/comparison.png)"]
    return "\n".join(lines)


def key_metric(shown: view.Timed | None) -> str:
    """The candidate over the expert, with the assessment."""
    lines = ["## Key metric", ""]
    if shown is None:
        lines += ["Candidate / expert: - (not measured)."]
        return "\n".join(lines)
    expert = shown.evaluation.expert
    overall = shown.versus_expert()
    if expert is None:
        lines += [
            (
                "Candidate / expert: - (two-way: no human expert's kernel took part)."
                f" Against the baseline: {words.verdict(shown.versus_baseline())}."
            ),
        ]
    elif overall is None or overall.speedup is None:
        why = f": {overall.reason}" if overall is not None and overall.reason else ""
        lines += [f"Candidate / {expert.implementation.name}: {words.verdict(overall)}{why}."]
    else:
        word = assessment(overall.speedup)
        if overall.interval is not None:
            ends = assessment(overall.interval.low), assessment(overall.interval.high)
            if ends[0] != ends[1]:
                word += f"; the interval reaches from {ends[0]} to {ends[1]}"
        lines += [
            (
                f"**Candidate / {expert.implementation.name}: {words.verdict(overall)}**"
                f" (geometric mean over {words.plural(len(shown.evaluation.sizes), 'size')},"
                f" 95 % interval). Assessment: **{word}**."
            ),
            "",
            "At least 0.9 of the expert is excellent, 0.7 good, 0.5 adequate, less is poor."
            + margin_sentence(shown),
        ]
    if shown.recorded:
        lines += ["", f"This was {shown.label}; this run, without a GPU, timed nothing."]
    lines += ["", "![Candidate against the expert](plots/llm_vs_expert.png)"]
    return "\n".join(lines)


def assessment(speedup: float) -> str:
    """The study's word for a fraction of the expert's speed."""
    return next((word for least, word in GRADES if speedup >= least), "poor")


def speedups(shown: view.Timed | None) -> str:
    """Every side over the baseline, and the candidate over the contenders."""
    if shown is None:
        return "## Speed-ups over the baseline\n\n- (not measured)"
    evaluation = shown.evaluation
    baseline = view.baseline_of(evaluation).implementation.name
    subjects = [trial for trial in _by_role(evaluation) if trial.implementation.name != baseline]
    rows = [
        [
            label,
            *(
                words.verdict(shown.comparison(baseline, size, trial.implementation.name))
                for trial in subjects
            ),
        ]
        for size, label in [
            *((size, size.label) for size in evaluation.sizes),
            (None, "geometric mean"),
        ]
    ]
    others = [
        trial.implementation.name
        for trial in evaluation.references
        if trial.implementation.role is Role.CONTENDER
    ]
    lines = [
        f"## Speed-ups over the baseline ({shown.label})",
        "",
        f"Each side over the baseline. {words.RATIO_RULE}",
        "",
        words.table(["size", *(_column(trial) for trial in subjects)], rows),
    ]
    if others:
        lines += [
            "",
            "The candidate over the contenders, by the same rule:",
            "",
            words.table(
                ["size", *others],
                [
                    [label, *(words.verdict(shown.comparison(name, size)) for name in others)]
                    for size, label in [
                        *((size, size.label) for size in evaluation.sizes),
                        (None, "geometric mean"),
                    ]
                ],
            ),
        ]
    return "\n".join(lines)


def host_times(shown: view.Timed | None) -> str:
    """Host time and the first call, apart from device time."""
    if shown is None:
        return ""
    evaluation = shown.evaluation
    trials = [
        trial
        for trial in _by_role(evaluation)
        if any(item.host_us is not None for item in trial.timings) or trial.first_call_s is not None
    ]
    if not trials:
        return ""
    rows = [
        [
            size.label,
            *(
                words.time_us(item.host_us if (item := trial.timing_at(size)) else None)
                for trial in trials
            ),
        ]
        for size in evaluation.sizes
    ]
    seconds = [
        [name, *(words.number(value, 2) for value in values)]
        for name, values in (
            ("first call (s)", [trial.first_call_s for trial in trials]),
            ("of it Triton's compiler (s)", [trial.compile_s for trial in trials]),
            ("of it autotuning (s)", [trial.autotune_s for trial in trials]),
        )
        if any(value is not None for value in values)
    ]
    has_first = any(trial.first_call_s is not None for trial in trials)
    has_parts = any(
        value is not None for trial in trials for value in (trial.compile_s, trial.autotune_s)
    )
    return "\n".join(
        [
            f"## Host time ({shown.label})",
            "",
            "Microseconds of one eager call, end to end, launch overhead included: another question"
            " than the kernel's own time, and no part of any verdict"
            + (" but those of this host-clock protocol." if shown.clock is Clock.HOST else ".")
            + (" The first call's seconds include compiling and autotuning" if has_first else "")
            + ("; what of them was the one and the other, the workers themselves say" * has_parts)
            + "." * has_first,
            "",
            words.table(["size", *(_column(trial) for trial in trials)], [*rows, *seconds]),
        ]
    )


def _by_role(evaluation: Evaluation) -> list[Trial]:
    """Baseline, experts, candidate, contenders: the original table's order."""
    order = (Role.BASELINE, Role.EXPERT, Role.CANDIDATE, Role.CONTENDER)
    return sorted(evaluation.trials, key=lambda trial: order.index(trial.implementation.role))


def _column(trial: Trial) -> str:
    name, role = trial.implementation.name, trial.implementation.role
    return name if name == role.value else f"{name} ({role.value})"


def _absences(shown: view.Timed) -> list[str]:
    """Why a time is missing, for each side that lacks one."""
    evaluation = shown.evaluation
    lines = []
    for trial in evaluation.trials:
        missing = [size.label for size in evaluation.sizes if trial.timing_at(size) is None]
        if missing:
            why = f": {view.one_line(trial.reason)}" if trial.reason else ""
            lines.append(
                f"- {trial.implementation.name} has no time at {', '.join(missing)}"
                f" ({trial.status}{why})."
            )
    if evaluation.status is not Status.CORRECT and evaluation.candidate.timings:
        lines.append(
            f"- The candidate ended as {evaluation.status}: its times are shown as they were"
            " taken and do not count."
        )
    return ["", *lines] if lines else []


def margin_sentence(shown: view.Timed) -> str:
    """How faster, slower and tie are told apart; it starts with a space."""
    if shown.margin is None:
        return ""
    return (
        " Faster or slower is said only where the whole interval is beyond"
        f" {words.percent(shown.margin)};"
        " otherwise it is a tie."
    )
