"""The report's sections on artifacts and on the commands that make it again.

Does not cover overrides of keys that no command line in the project's own help changes.
"""

from __future__ import annotations

import shlex

from tritonexp.records import StudyRecord
from tritonexp.report import ceiling, doubt, view, words

GROUPS = ("operation", "model", "prompt", "strategy", "sizes", "timing", "expert", "seed")


def artifacts(record: StudyRecord, shown: view.Timed | None) -> str:
    """The files beside the report in the MLflow run: those that there are, of this record."""
    attempt, own = record.attempt, record.evaluation
    files = (
        ("record.json", "everything that this report was made from", True),
        ("prompt.md", "what was asked", bool(attempt.prompt.text)),
        ("response.md", "what was answered", True),
        ("candidate.py", "what was judged", attempt.source is not None),
        ("timings.json", "every time as a table", own is not None and view.has_times(own)),
        ("environment.json", "where it ran", own is not None),
        ("config.yaml", "how it was configured", True),
        ("plots/comparison.png", "times and speed-ups, or errors where nothing was timed", True),
        ("plots/llm_vs_expert.png", "the candidate against the expert", True),
        (
            "plots/ceiling.png",
            "how near the hardware's ceiling each side came",
            shown is not None and bool(ceiling.bounds_of(shown.evaluation)),
        ),
        (
            "plots/rounds.png",
            "the rounds behind doubtful verdicts",
            shown is not None and bool(doubt.doubts_of(shown)),
        ),
    )
    lines = [f"- `{name}`: {what}" for name, what, exists in files if exists]
    return "\n".join(["## Artifacts", "", "Beside this report in the MLflow run:", "", *lines])


def command(record: StudyRecord) -> str:
    """The command that runs the same job again."""
    chosen = [
        f"{group}={getattr(record.choices, group)}"
        for group in GROUPS
        # none is no choice of the group, and a file needs none
        if group != "prompt" or record.attempt.prompt.text
    ]
    return shlex.join(["python", "run.py", *chosen, *_profile(record), *_overrides(record)])


def reproduce(record: StudyRecord) -> str:
    """The commands that make job, kernel and report again."""
    lines = [
        "## How to reproduce",
        "",
        "The same job again:",
        "",
        words.fenced(command(record), "sh"),
    ]
    if record.attempt.completion.origin == "api":
        lines += ["", "A model may answer differently each time."]
    if record.attempt.source is not None and record.attempt.completion.origin != "file":
        lines += [
            "",
            "The same kernel again, from this run's artifact:",
            "",
            words.fenced(
                shlex.join(
                    [
                        "python",
                        "run.py",
                        f"operation={record.choices.operation}",
                        "model=file",
                        "model.path=candidate.py",
                        *(
                            f"{group}={getattr(record.choices, group)}"
                            for group in ("sizes", "timing", "expert", "seed")
                        ),
                        *_overrides(record, groups=("sizes", "expert")),
                    ]
                ),
                "sh",
            ),
        ]
    lines += [
        "",
        "This report again, without a GPU or a model:",
        "",
        words.fenced("python -m tritonexp report record.json -o .", "sh"),
    ]
    return "\n".join(lines)


def _profile(record: StudyRecord) -> list[str]:
    """The hardware profiler, where one was asked for."""
    name = (record.config.get("profile") or {}).get("name", "none")
    return [] if name == "none" else [f"profile={name}"]


def _overrides(
    record: StudyRecord, groups: tuple[str, ...] = ("model", "strategy", "sizes", "expert")
) -> list[str]:
    """The keys inside a choice that a command line is known to change."""
    keys = {
        "model": ("path", "sample", "base_url"),
        "strategy": ("n",),
        "sizes": ("custom",),
        "expert": ("path",),
    }
    found = []
    for group in groups:
        settings = record.config.get(group)
        if not isinstance(settings, dict):
            continue
        for key in keys[group]:
            value = settings.get(key)
            if value is not None:
                text = str(value).replace(" ", "") if isinstance(value, list) else str(value)
                found.append(f"{group}.{key}={text}")
    return found
