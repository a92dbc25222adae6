"""The report's sections on correctness and on the kernel: verification, code, compilation.

What the source does is said only where `code` found it in the syntax tree.
"""

from __future__ import annotations

from collections.abc import Sequence

from tritonexp.records import Evaluation, Mode, Status, StudyRecord, Timing, Trial
from tritonexp.report import opening, rubric, view, words, work
from tritonexp.report.code import CodeFacts, KernelFacts


def verification(record: StudyRecord, shown: view.Timed | None) -> str:
    """The candidate's cases by dtype, with its worst errors."""
    sources = []
    if record.evaluation is not None:
        own = record.evaluation
        place = "Triton's interpreter, no GPU" if own.mode is Mode.INTERPRETER else _place(own)
        sources.append((place, own))
    if shown is not None and shown.recorded:
        sources.append((shown.label, shown.evaluation))
    if not sources:
        return "## Verification\n\n- (nothing was run)"
    blocks = ["## Verification"]
    for place, evaluation in sources:
        trial = evaluation.candidate
        if not trial.cases:
            blocks.append(f"In this run ({place}): no case was reached.")
            continue
        dtypes = list(dict.fromkeys(item.case.dtype for item in trial.cases))
        rows = []
        for dtype in dtypes:
            cases = [item for item in trial.cases if item.case.dtype == dtype]
            rows.append(
                (
                    dtype,
                    str(len(cases)),
                    str(sum(item.status is Status.CORRECT for item in cases)),
                    str(len({item.case.size for item in cases})),
                    str(len({item.case.distribution for item in cases})),
                    *(
                        words.ulp(
                            max((value for value in figures if value is not None), default=None)
                        )
                        for figures in (
                            [item.error_ulp for item in cases],
                            [item.baseline_error_ulp for item in cases],
                            [item.allowed_error_ulp for item in cases],
                        )
                    ),
                )
            )
        blocks += [
            (
                f"{place[0].upper()}{place[1:]}: {view.passed(trial)} of"
                f" {words.plural(len(trial.cases), 'case')} passed. Errors are against float64,"
                " in ulp"
                " of the dtype at the row's scale; the worst case of each dtype:"
            ),
            words.table(
                (
                    "dtype",
                    "cases",
                    "passed",
                    "sizes",
                    "distributions",
                    "candidate's error",
                    "baseline's error",
                    "largest allowed",
                ),
                rows,
            ),
        ]
    return "\n\n".join(blocks)


def _place(evaluation: Evaluation) -> str:
    return f"{view.gpu_name(evaluation)}, {words.day(evaluation.environment.date)}"


def behaviour(record: StudyRecord, shown: view.Timed | None, facts: CodeFacts | None) -> str:
    """What was found in the source, measured on a call, and compiled."""
    blocks = ["## What the kernel does"]
    if record.attempt.source is None:
        return blocks[0] + "\n\n- (there is no source)"
    blocks.append("As found in the source (nothing here is inferred beyond its syntax):")
    if facts is None:
        blocks.append("- The source does not parse.")
    else:
        blocks.append("\n".join(_source_facts(facts)))
    if shown is not None:
        blocks.append(_measured_facts(shown))
    own = record.evaluation
    if own is not None:
        if own.candidate.traffic is not None or shown is None or not shown.recorded:
            blocks.append(work.memory_passes(own, "counted in this run"))
        else:
            blocks.append(work.memory_passes(shown.evaluation, shown.label))
        blocks.append(work.memory_traffic(own))
        if own.mode is Mode.INTERPRETER and own.candidate.compiled:
            blocks.append(_kernels((own.candidate,), "Compiled"))
    if shown is not None:
        blocks.append(_kernels(shown.evaluation.trials, f"Launched, as {shown.label}, compiled"))
    return "\n\n".join(block for block in blocks if block)


def _source_facts(facts: CodeFacts) -> list[str]:
    lines = [
        f"- {words.plural(len(facts.kernels), '`@triton.jit` function')};"
        f" {words.plural(len(facts.launches), 'launch site')}"
        + (f": {', '.join(f'`{launch}`' for launch in facts.launches)}" if facts.launches else "")
    ]
    lines += [_kernel_line(kernel) for kernel in facts.kernels]
    for title, found in (
        ("Block sizes", facts.blocks),
        ("Launch options", facts.launch_options),
        ("Calls of torch", facts.torch_calls),
    ):
        lines.append(
            f"- {title}: {', '.join(f'`{item}`' for item in found) if found else 'none found'}"
        )
    return lines


def _kernel_line(kernel: KernelFacts) -> str:
    calls = ", ".join(
        f"`tl.{name}`" + (f" x{amount}" if amount > 1 else "")
        for name, amount in kernel.language_calls
    )
    reductions = [
        name
        for name, _ in kernel.language_calls
        if name in {"max", "min", "sum", "reduce", "argmax", "argmin", "dot", "cumsum"}
    ]
    parts = [
        f"- `{kernel.name}` (line {kernel.line}): "
        + _accesses("load", kernel.loads, kernel.unguarded_loads, kernel.descriptor_loads),
        _accesses("store", kernel.stores, kernel.unguarded_stores, kernel.descriptor_stores),
        words.plural(kernel.loops, "loop"),
        f"reductions and dots: {', '.join(reductions) if reductions else 'none'}",
        f"casts: {', '.join(kernel.casts) if kernel.casts else 'none'}",
        f"calls: {calls or 'none'}",
    ]
    if kernel.configurations is not None:
        parts.append(
            f"autotuned over {words.plural(kernel.configurations, 'written configuration')}"
        )
    return "; ".join(parts)


def _accesses(noun: str, amount: int, unguarded: int, by_descriptor: int) -> str:
    """As in 3 loads, 1 masked, 2 by tensor descriptor."""
    masked = amount - unguarded - by_descriptor
    text = f"{words.plural(amount, noun)}"
    if masked or amount > by_descriptor:
        text += f", {masked} masked"
    return text + (f", {by_descriptor} by tensor descriptor" if by_descriptor else "")


def _measured_facts(shown: view.Timed) -> str:
    evaluation = shown.evaluation
    trial = evaluation.candidate
    lines = [f"As {shown.label}:", ""]
    if launches := work.launches(evaluation):
        lines.append(launches)
    own = rubric.own_launches(trial)
    if own is not None:
        lines.append(f"- Launches of its own kernels per call: {words.count(own)}")
    lines += [
        f"- `{item.name}`: {words.plural(item.launches, 'launch')} ("
        f"{'its own' if item.own else 'not its own'}), {words.fraction(item.share)} of the"
        " call's GPU time"
        for item in trial.kernels
    ]
    moved = work.moved_bytes(trial, evaluation)
    rows = []
    for size in evaluation.sizes:
        timing = trial.timing_at(size)
        rows.append(
            (
                size.label,
                words.size_bytes(_floor_bytes(evaluation, timing)),
                words.size_bytes(moved.get(size.label)),
                (timing.floor_kind if timing else None) or words.MISSING,
                words.fraction(timing.fraction_of_ceiling if timing else None),
                words.fraction(view.baseline_fraction(evaluation, size)),
            )
        )
    lines += [
        "",
        (
            "Bytes: the least that a call must move follows from its floor time and the measured"
            " copy bandwidth; what it moved was"
            + (" measured by a profiler." if moved else " not measured (profile=ncu asks for it).")
        ),
        "",
        words.table(
            *words.without_dashes(
                (
                    "size",
                    "least bytes",
                    "bytes moved",
                    "bound by",
                    "candidate's fraction of the ceiling",
                    "baseline's",
                ),
                rows,
            )
        ),
    ]
    return "\n".join(lines)


def _floor_bytes(evaluation: Evaluation, timing: Timing | None) -> int | None:
    if timing is None or timing.floor_us is None or timing.floor_kind != "memory":
        return None
    if evaluation.ceilings is None:
        return None
    # us x GB/s = 1e3 bytes
    return round(timing.floor_us * evaluation.ceilings.copy_gb_s * 1e3)


def _kernels(trials: Sequence[Trial], what: str) -> str:
    """The kernels of some sides; "" where none is known."""
    targets = sorted({item.target for trial in trials for item in trial.compiled})
    return f"{what} for {', '.join(targets)}:\n\n{work.kernels_table(trials)}" if targets else ""


def code_comparison(record: StudyRecord, shown: view.Timed | None, facts: CodeFacts | None) -> str:
    """Both sides' code in figures, and the candidate's text."""
    blocks = ["## Code: candidate and expert"]
    source = record.attempt.source
    if source is None:
        return blocks[0] + "\n\n- (there is no source)"
    evaluation = shown.evaluation if shown else record.evaluation
    expert = evaluation.expert if evaluation else None
    kernels = words.MISSING
    code_lines = words.MISSING
    if facts is not None:
        kernels = ", ".join(f"`{kernel.name}`" for kernel in facts.kernels) or "none"
        code_lines = f"{facts.code_lines} of {facts.lines}"
    header = ["", "candidate"]
    rows = [
        ["lines of code", code_lines],
        ["lines with a comment", str(facts.comments) if facts else words.MISSING],
        ["`@triton.jit` functions", kernels],
        ["source", f"below, sha256 {_sha(record)}"],
    ]
    if expert is not None:
        header.append(f"expert ({expert.implementation.name})")
        # the expert's file is an adapter, so its line count would say nothing
        measured = ", ".join(f"`{item.name}`" for item in expert.kernels) or words.MISSING
        for row, cell in zip(
            rows,
            (
                words.MISSING,
                words.MISSING,
                f"launched: {measured}",
                opening.provenance(expert.implementation.provenance),
            ),
            strict=True,
        ):
            row.append(cell)
    blocks.append(words.table(header, rows))
    blocks.append(
        "The expert's source stays where it comes from and is not copied here."
        if expert is not None
        else "No expert took part, so there is no expert's source to compare with."
    )
    blocks += ["The candidate, word for word:", words.fenced(source, "python")]
    return "\n\n".join(blocks)


def _sha(record: StudyRecord) -> str:
    evaluation = record.evaluation
    return evaluation.candidate.implementation.sha256[:12] if evaluation else words.MISSING
