"""The report's last sections: why to believe it, what it cannot tell, and its ratings.

Does not cover how to run the job again: see reproduction.
"""

from __future__ import annotations

from tritonexp.records import Calibration, Evaluation, Mode, Outcome, Status, StudyRecord
from tritonexp.report import buffers, rubric, speed, view, words
from tritonexp.report.code import CodeFacts


def validity(record: StudyRecord, shown: view.Timed | None) -> str:
    """What the protocol did that makes the comparison hold, as far as the record tells."""
    lines = ["## Why the comparison is valid", ""]
    own = record.evaluation
    if own is None:
        return "\n".join([*lines, "Nothing was compared."])
    cases = own.candidate.cases
    prompt = record.attempt.prompt
    lines.append(
        f"- The prompt held the components {', '.join(prompt.components)}; a render that holds a"
        " line of an expert or house kernel is refused."
        if prompt.text
        else "- No prompt was sent, so nothing is said of what the kernel was written from."
    )
    if cases:
        lines.append(
            f"- {words.plural(len(cases), 'case')} at"
            f" {words.plural(len({item.case.size for item in cases}), 'size')} in"
            f" {', '.join(dict.fromkeys(item.case.dtype for item in cases))} were compared with"
            " float64, each against an allowance that follows the baseline's own error."
        )
    lines.append(f"- Workers were confined by: {own.environment.sandbox}.")
    if shown is None:
        lines.append("- Nothing was timed, so nothing is said of speed.")
        return "\n".join(lines)
    if shown.recorded:
        lines.append(
            f"- This run timed nothing. What follows was {shown.label}, of the same source."
        )
    evaluation = shown.evaluation
    protocol = evaluation.protocol
    if protocol is not None:
        rounds = [len(item.rounds_us) for trial in evaluation.trials for item in trial.timings]
        least, most = min(rounds), max(rounds)
        lines.append(
            f"- Protocol `{protocol.name}` ({view.CLOCK_METHODS[protocol.clock]}):"
            f" {least if least == most else f'{least} to {most}'} rounds per side and size"
            f" (at least {protocol.rounds}, and at most {protocol.max_rounds} where a verdict was"
            " open), about"
            f" {words.time_us(protocol.window_us)} µs of calls per side and round."
        )
        if held := buffers.sentence(record.brief, evaluation):
            lines.append(f"- {held}")
        lines.append(
            "- A ratio is the median of per-round ratios with a 95 % interval."
            + speed.margin_sentence(shown)
        )
        worst = _clock_disagreement(evaluation)
        lines.append(
            "- The referee's own clock disagreed with the worker's by at most"
            f" {words.percent(worst)}"
            f" (allowed: {words.percent(protocol.max_clock_disagreement)})."
        )
        lines.append(_clocks(evaluation))
        lines.append(_calibration(evaluation.calibration))
        lines.append(
            "- A time beyond"
            f" {protocol.max_fraction_of_ceiling:.2f} of the measured ceiling would have been"
            " IMPLAUSIBLE."
        )
    if evaluation.ceilings is not None:
        ceilings = evaluation.ceilings
        rates = "".join(
            f", {dtype} matmul {words.number(rate, 0)} TFLOP/s"
            for dtype, rate in sorted(ceilings.matmul_tflop_s.items())
        )
        lines.append(
            f"- Ceilings were measured on the device on {words.day(ceilings.measured_on)}: copy"
            f" {words.number(ceilings.copy_gb_s, 0)} GB/s{rates}."
        )
    return "\n".join(lines)


def _calibration(found: Calibration | None) -> str:
    """How often the machine called one kernel faster or slower than itself."""
    if found is None:
        return (
            "- This machine was not calibrated: how often it calls a kernel faster or slower than"
            " itself is not known (`python -m tritonexp calibrate`)."
        )
    pairs = sum(item.pairs for item in found.sizes)
    false = sum(item.false_verdicts for item in found.sizes)
    reaches = ", ".join(
        f"{item.size.label} ±{words.percent(item.usual_reach)}" for item in found.sizes
    )
    return (
        f"- One {found.operation} kernel against itself on this machine, on"
        f" {words.day(found.date)}: {false} of {pairs} pairs were not called a tie. In 95 % of the"
        f" pairs the 95 % interval lay within {reaches}."
    )


def _clocks(evaluation: Evaluation) -> str:
    """What the GPU's clocks did in the rounds, over all sizes."""
    logs = evaluation.clock_logs
    samples = [one for log in logs for one in log.samples if one is not None]
    if not samples:
        reasons = dict.fromkeys(log.reason for log in logs if log.reason)
        why = f" ({'; '.join(reasons)})" if reasons else ""
        return f"- The GPU's clocks were not read{why}, so throttling would not have been seen."
    figures = (
        ("SM clock", [one.sm_mhz for one in samples], "MHz"),
        ("memory clock", [one.memory_mhz for one in samples], "MHz"),
        ("temperature", [one.temperature_c for one in samples], "°C"),
        ("power", [one.power_w for one in samples], "W"),
    )
    spans = ", ".join(
        f"{name} {words.extent(known)} {unit}"
        for name, values, unit in figures
        if (known := [value for value in values if value is not None])
    )
    held = dict.fromkeys(reason for one in samples for reason in one.reasons or ())
    held_back = f"; held back by {', '.join(sorted(held))}" if held else ""
    again = sum(log.measured_again for log in logs)
    left = sum(len(log.unsteady) for log in logs)
    return (
        f"- The GPU in {words.plural(len(samples), 'round')}: {spans}{held_back}."
        f" {words.plural(again, 'unsteady round')} measured again, and {left} left that are"
        f" unsteady. {logs[0].rule}"
    )


def _clock_disagreement(evaluation: Evaluation) -> float | None:
    gaps = [
        abs(item.referee_us / item.median_us - 1)
        for trial in evaluation.trials
        for item in trial.timings
        if item.referee_us is not None
    ]
    return max(gaps, default=None)


def limits(record: StudyRecord, shown: view.Timed | None) -> str:
    """What the record says nothing about."""
    lines = [
        "## Limits",
        "",
        (
            f"- One operation is one pattern: this record speaks of {record.choices.operation}"
            f" ({record.brief.pattern}), not of others."
        ),
        (
            "- The kernel is a file of the user's; nothing is said of any model."
            if record.attempt.completion.origin == "file"
            else f"- {words.plural(len(record.attempts), 'response')} of one model to one prompt;"
            " another sample may differ."
        ),
    ]
    if shown is None:
        lines.append("- No time was measured, so nothing is known of its speed.")
    else:
        evaluation = shown.evaluation
        sizes = ", ".join(size.label for size in evaluation.sizes)
        lines += [
            (
                f"- Speed is known at {sizes} in {evaluation.dtype} on one"
                f" {view.gpu_name(evaluation)}"
                " only."
            ),
            (
                "- Clock, graph and candidate share a process, so native code could lie to it; the"
                " referee's clock and the floor bound what such a lie can gain."
            ),
        ]
    if record.evaluation is not None and record.evaluation.mode is Mode.INTERPRETER:
        lines.append(
            "- The interpreter computes on the CPU at small sizes: it accepts some launches that a"
            " GPU refuses, and its fp32 dots are exact where a GPU may use TF32."
        )
    return "\n".join(lines)


def candidates(record: StudyRecord, shown: view.Timed | None) -> str:
    """What the times tell of the pattern, and what they cannot tell."""
    lines = ["## Good and poor candidates", ""]
    pattern = record.brief.pattern
    if shown is None or shown.evaluation.status is not Status.CORRECT:
        lines.append(
            f"This record has no valid time, so it cannot tell whether the pattern {pattern} is a"
            " good candidate for generated kernels."
        )
        return "\n".join(lines)
    overall = shown.versus_baseline()
    outcome = overall.outcome if overall else None
    reading = (
        {
            Outcome.FASTER: "here it was a good candidate",
            Outcome.SLOWER: "here it was a poor candidate",
            Outcome.TIE: "here generating a kernel gained nothing",
        }.get(outcome, "this record cannot tell")
        if outcome
        else "this record cannot tell"
    )
    lines.append(
        f"- Pattern {pattern}: the candidate over the baseline {words.verdict(overall)}; {reading}."
    )
    evaluation = shown.evaluation
    headroom = [
        (size.label, value)
        for size in evaluation.sizes
        if (value := view.baseline_fraction(evaluation, size)) is not None
    ]
    if headroom:
        told = ", ".join(f"{words.fraction(value)} at {label}" for label, value in headroom)
        lines.append(
            f"- Room above the baseline: it reached {told} of the ceiling; the nearer to 1, the"
            " poorer a candidate the operation is at that size."
        )
    own = [
        (item.fraction_of_ceiling, size.label)
        for size in evaluation.sizes
        if (item := evaluation.candidate.timing_at(size)) and item.fraction_of_ceiling is not None
    ]
    if len(own) > 1:
        low, high = min(own), max(own)
        lines.append(
            f"- The candidate came nearest to the ceiling at {high[1]} ({words.fraction(high[0])})"
            f" and stayed furthest from it at {low[1]} ({words.fraction(low[0])})."
        )
    lines.append("- Other patterns: this record cannot tell; a sweep over operations can.")
    return "\n".join(lines)


def attempts(record: StudyRecord) -> str:
    """Every attempt in a row, where there were several."""
    if len(record.attempts) == 1:
        return ""
    rows = []
    for index, attempt in enumerate(record.attempts):
        usage = attempt.completion.usage
        own = attempt.evaluation
        overall = None
        if own is not None and own.mode is Mode.GPU and view.has_times(own):
            overall = view.Timed(evaluation=own, recorded=False).versus_baseline()
        rows.append(
            (
                f"{attempt.number}{' (chosen)' if index == record.chosen else ''}",
                str(attempt.status),
                view.one_line(attempt.reason) or words.MISSING,
                words.verdict(overall),
                words.count(usage.input_tokens if usage else None),
                words.count(usage.output_tokens if usage else None),
                words.dollars(attempt.completion.cost_usd),
                words.number(attempt.completion.latency_s, 1),
            )
        )
    header = (
        "attempt",
        "status",
        "reason",
        "over the baseline",
        "tokens in",
        "tokens out",
        "cost",
        "latency (s)",
    )
    blocks = ["## Attempts"]
    if view.first_correct_stands(record):
        blocks.append(
            f"Strategy `{record.choices.strategy}` takes the fastest correct answer. Here nothing"
            " was timed, so the first correct one was taken, which need not be the fastest."
        )
    return "\n\n".join([*blocks, words.table(*words.without_dashes(header, rows))])


def ratings(record: StudyRecord, facts: CodeFacts | None) -> str:
    """The ratings out of 5, with the rules that they follow."""
    ratings = rubric.rate(record, facts)
    return "\n\n".join(
        [
            "## Rating",
            words.table(
                ("aspect", "rating", "note"),
                [(item.aspect, item.text, item.note) for item in ratings],
            ),
            "The ratings follow these rules, and nothing else:",
            words.table(("aspect", "rule"), rubric.RULES),
        ]
    )
