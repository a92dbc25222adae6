"""The Markdown that MLflow shows above a run and above the experiment."""

from __future__ import annotations

from tritonexp.records import Comparison, Evaluation, Mode, Status, StudyRecord
from tritonexp.tracking.flatten import opponents, summary_of

NO_FIGURE = "-"

EXPERIMENT_NOTE = """\
One run is one job: a model is shown a naive PyTorch operation, writes a Triton kernel, and the \
kernel is verified and timed beside the baseline and a human expert's kernel. Runs are named \
`operation/model/prompt`, where `none` is the prompt of a kernel file, which answers none; runs of \
`kind=report` hold the comparison of a sweep.

| column | meaning |
| --- | --- |
| `status` | how the attempt ended; a wrong kernel is a finished run that is not CORRECT |
| `correct` | 1 or 0; its mean over runs is the share of correct kernels |
| `speedup_vs_baseline`, `speedup_vs_expert` | the other's time over the kernel's, more than 1 is \
faster; geometric mean over the sizes, with `_low` and `_high` of the 95 % interval; absent where \
it was not measured |
| `verdict_vs_...` | faster or slower only when the whole interval is beyond 1 %, otherwise tie |
| `score` | `speedup_vs_baseline`, or 0 for a kernel that is not correct: the one to average; \
absent from runs without a GPU |
| `fraction_of_ceiling` | the least time that the hardware allows over the kernel's time |
| `error_vs_float64` | worst error in units of the dtype's epsilon at the row's scale, as found \
where the tag `mode` says |
| `cost_usd`, `latency_s`, `tokens/...` | of the model's answers, over all attempts |
| `size/...` | per size; the step is the size's index in the order that the report lists |
| `recorded/...` | of a run without a GPU: measured earlier on the GPU in `recorded_gpu`, for the \
same source |
| `recorded/score` | `recorded/speedup_vs_baseline`, or 0 for a recorded answer that is not \
correct: the one to average where there was no GPU; absent where no GPU ever judged the kernel |
"""


def note_of(record: StudyRecord) -> str:
    """A short summary of a study: status, speed-ups with their intervals, and the GPU."""
    parts = [f"**{record.status}** · {_place(record.evaluation)} · study `{record.study_id}`"]
    if record.status is not Status.CORRECT:
        parts.append(f"Reason: {_verbatim(record.attempt.reason)}")
    if record.evaluation is not None:
        parts += _summary(record.evaluation)
    recorded = record.recorded_evaluation
    if recorded is not None:
        parts.append(f"Recorded earlier for the same source: {_place(recorded)}")
        parts += _summary(recorded)
    return "\n\n".join(parts)


def _place(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "nothing was run"
    gpu = evaluation.environment.gpu
    if evaluation.mode is Mode.INTERPRETER or gpu is None:
        return "verified without a GPU in Triton's interpreter, not timed"
    return f"{gpu.name}, {evaluation.dtype}, {evaluation.environment.date[:10]}"


def _summary(evaluation: Evaluation) -> list[str]:
    rows = []
    for label, trial in opponents(evaluation):
        name = trial.implementation.name
        comparison = evaluation.comparison(name)
        if comparison is not None:
            shown = label if label == name else f"{label} ({name})"
            rows.append(_row(shown, comparison))
    fraction = summary_of(evaluation).get("fraction_of_ceiling")
    error = evaluation.candidate.error_ulp
    figures = (
        f"Fraction of ceiling {NO_FIGURE if fraction is None else f'{fraction:.2f}'}"
        f" · worst error {NO_FIGURE if error is None else f'{error:.3g} ulp'}"
    )
    if not rows:
        return [figures]
    head = "| against | speed-up | 95 % interval | verdict |\n| --- | --- | --- | --- |"
    return ["\n".join([head, *rows]), figures]


def _row(shown: str, comparison: Comparison) -> str:
    speedup = NO_FIGURE if comparison.speedup is None else f"{comparison.speedup:.2f}x"
    interval = comparison.interval
    span = NO_FIGURE if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
    return f"| {shown} | {speedup} | {span} | {comparison.outcome} |"


def _verbatim(text: str) -> str:
    # a reason can quote a model's code, which must not be read as Markdown
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
