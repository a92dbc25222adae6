"""The report's first sections: what was asked of whom, how it ended, and who was compared.

Does not cover times and speed-ups: see speed.
"""

from __future__ import annotations

from tritonexp.records import Mode, Provenance, Status, StudyRecord, Trial
from tritonexp.report import view, words

MOST_LOG_LINES = 40
MOST_FAILING_CASES = 20


def heading(record: StudyRecord, shown: view.Timed | None) -> str:
    """Title, date, model, hardware, operation and pattern."""
    completion, brief = record.attempt.completion, record.brief
    usage = completion.usage
    tokens = (
        f"{words.count(usage.input_tokens)} in, {words.count(usage.output_tokens)} out"
        if usage
        else words.MISSING
    )
    origin = {
        "api": "asked through the API",
        "recorded": f"recorded response, sample {completion.sample or words.MISSING},"
        f" of {completion.recorded_on or words.MISSING}",
        "file": "a file of the user's; no model was asked",
    }.get(completion.origin, completion.origin)
    lines = [
        f"# {brief.title}: {record.choices.model} with prompt {record.choices.prompt}",
        "",
        f"- **Date:** {record.started}",
        f"- **Model:** {view.model_name(record)}; {origin}",
        (
            f"- **Cost:** {words.dollars(record.cost_usd)} over"
            f" {words.plural(len(record.attempts), 'attempt')};"
            f" chosen attempt: tokens {tokens}, latency"
            f" {words.number(completion.latency_s, 1)} s"
        ),
        f"- **Hardware:** {_hardware(record, shown)}",
        f"- **Operation:** {record.choices.operation} ({brief.title}), `{brief.signature}`",
        f"- **Pattern:** {brief.pattern}",
        f"- **Study:** {record.study_id}"
        + (f", sweep {record.sweep}" if record.sweep is not None else ""),
    ]
    return "\n".join(lines)


def _hardware(record: StudyRecord, shown: view.Timed | None) -> str:
    own = record.evaluation
    text = view.hardware(own) if own else "nothing was run"
    if own:
        environment = own.environment
        text += (
            f"; torch {environment.torch}, triton {environment.triton}, Python {environment.python}"
        )
    if shown is not None and shown.recorded:
        made = shown.evaluation.environment
        text += f". Times: {shown.label} (torch {made.torch}, triton {made.triton})"
    return text


def result(record: StudyRecord) -> str:
    """The status with its reason; for a failure the failing cases and the log."""
    attempt = record.attempt
    lines = ["## Result", "", f"**{record.status}**"]
    if attempt.reason:
        lines[-1] += f": {view.one_line(attempt.reason, 400)}"
    evaluation = record.evaluation
    if record.status is Status.CORRECT or evaluation is None:
        if evaluation is None:
            lines += ["", "There was nothing to evaluate, so nothing was verified or timed."]
        return "\n".join(lines)
    trial = evaluation.candidate
    failing = [case for case in trial.cases if case.status is not Status.CORRECT]
    if failing:
        lines += [
            "",
            f"{len(failing)} of {words.plural(len(trial.cases), 'case')} failed"
            + (f"; the first {MOST_FAILING_CASES}:" if len(failing) > MOST_FAILING_CASES else ":"),
            "",
            words.table(
                (
                    "size",
                    "dtype",
                    "distribution",
                    "seed",
                    "status",
                    "error (ulp)",
                    "allowed (ulp)",
                    "baseline's error (ulp)",
                    "reason",
                ),
                [
                    (
                        item.case.size.label,
                        item.case.dtype,
                        item.case.distribution,
                        str(item.case.seed),
                        str(item.status),
                        words.ulp(item.error_ulp),
                        words.ulp(item.allowed_error_ulp),
                        words.ulp(item.baseline_error_ulp),
                        view.one_line(item.reason),
                    )
                    for item in failing[:MOST_FAILING_CASES]
                ],
            ),
        ]
    if trial.log.strip():
        log = trial.log.strip().splitlines()
        lines += [
            "",
            (
                f"The log's last {words.plural(min(len(log), MOST_LOG_LINES), 'line')}"
                f" of {len(log):,}:"
            ),
            "",
            words.fenced("\n".join(log[-MOST_LOG_LINES:]), "text"),
        ]
    return "\n".join(lines)


def objective(record: StudyRecord) -> str:
    """The question that the job answers."""
    brief, completion = record.brief, record.attempt.completion
    model = completion.model_answered or completion.model_asked
    author = (
        "a Triton kernel from a file"
        if completion.origin == "file"
        else f"a Triton kernel that {model} wrote from the naive PyTorch source"
    )
    return (
        "## Objective\n\n"
        f"To find out whether {author} computes {brief.title.lower()} right, and how fast it is"
        " beside the naive PyTorch baseline, a human expert's kernel where there is one, and the"
        " hardware's ceiling."
    )


def method(record: StudyRecord, shown: view.Timed | None) -> str:
    """The sides, each with its provenance and status."""
    evaluation = shown.evaluation if shown else record.evaluation
    prompt = record.attempt.prompt
    lines = ["## Method", ""]
    if evaluation is None:
        lines += ["No side was run: there was no candidate to compare."]
    else:
        expert = evaluation.expert
        if expert is None:
            why = ""
            if evaluation.mode is Mode.INTERPRETER:
                why = ", since without a GPU nothing is timed"
            elif shown and shown.recorded and record.choices.expert not in {"auto", "none"}:
                why = f", since none was recorded with expert={record.choices.expert}"
            lines += [
                f"**Two-way comparison**: no human expert's kernel took part{why}, so the candidate"
                " is compared with the baseline"
                + (" and the contenders." if len(evaluation.references) > 1 else "."),
            ]
        else:
            lines += [
                (
                    "**Three-way comparison**: baseline, human expert"
                    f" ({expert.implementation.name}) and candidate."
                ),
            ]
        lines += [
            "",
            words.table(
                ("side", "name", "source", "status"),
                [
                    (
                        str(trial.implementation.role),
                        trial.implementation.name,
                        provenance(trial.implementation.provenance),
                        _status(trial),
                    )
                    for trial in evaluation.trials
                ],
            ),
        ]
        if shown is not None and shown.recorded:
            lines += ["", f"The sides and their statuses are those {shown.label}."]
    told = (
        f"The prompt `{prompt.name}` (sha256 {prompt.sha256[:12]}) holds the components"
        f" {', '.join(prompt.components)}"
        if prompt.text
        else "No prompt was sent"
    )
    untimed = (
        ": nothing was timed, so the first correct answer stands for the run, not the fastest"
        if view.first_correct_stands(record)
        else ""
    )
    lines += ["", f"{told}; strategy `{record.choices.strategy}`{untimed}."]
    return "\n".join(lines)


def provenance(item: Provenance) -> str:
    """Where an implementation comes from, in a phrase."""
    origins = {
        "generated": "generated by",
        "recorded": "recorded response of",
        "file": "file",
        "package": "package",
        "tutorial": "Triton's tutorial",
        "library": "library",
        "house": "this project's own kernel,",
        "baseline": "baseline:",
    }
    text = f"{origins.get(item.origin, item.origin)} {item.name}"
    if item.version:
        text += f" {item.version}"
    for detail in (
        item.location and f"`{item.location}`",
        item.sha256 and f"sha256 {item.sha256[:12]}",
        item.licence,
    ):
        text += f", {detail}" if detail else ""
    return text


def _status(trial: Trial) -> str:
    text = f"{trial.status}"
    if trial.cases:
        text += f", {view.passed(trial)} of {words.plural(len(trial.cases), 'case')} passed"
    return text if not trial.reason else f"{text}: {view.one_line(trial.reason)}"
