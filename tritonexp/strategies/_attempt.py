"""From a completion to an attempt: the step that all strategies share."""

from tritonexp.generation.extraction import extract_code
from tritonexp.protocols import Evaluator
from tritonexp.records import (
    Attempt,
    Completion,
    Implementation,
    OperationBrief,
    Prompt,
    Provenance,
    Role,
    Status,
)

# a completion's origin, as an implementation's provenance puts it
_PROVENANCE = {"api": "generated", "recorded": "recorded", "file": "file"}


def judge(
    number: int,
    prompt: Prompt,
    completion: Completion,
    evaluator: Evaluator,
    brief: OperationBrief,
) -> Attempt:
    """Extract the code and have it evaluated, where there is any."""
    source, evaluation = None, None
    if completion.failure is not None:
        status, reason = completion.failure, completion.reason
    else:
        source = _source(completion, brief.entry_point)
        if source is None:
            status = Status.NO_CODE
            reason = f"the answer holds no Python code that defines {brief.entry_point}"
        else:
            evaluation = evaluator.evaluate(_candidate(source, prompt, completion, brief))
            status, reason = evaluation.status, evaluation.candidate.reason
    return Attempt(
        number=number,
        prompt=prompt,
        completion=completion,
        source=source,
        status=status,
        reason=reason,
        evaluation=evaluation,
    )


def _source(completion: Completion, entry_point: str) -> str | None:
    # a kernel file is source already, even where a docstring of it holds a fence
    if completion.origin == "file":
        return completion.text
    return extract_code(completion.text, entry_point)


def _candidate(
    source: str, prompt: Prompt, completion: Completion, brief: OperationBrief
) -> Implementation:
    location = None
    if completion.sample is not None:
        location = f"kernels/{brief.name}/recorded/{prompt.name}/{completion.sample:02d}.md"
    return Implementation(
        name="candidate",
        role=Role.CANDIDATE,
        source=source,
        entry_point=brief.entry_point,
        provenance=Provenance(
            origin=_PROVENANCE[completion.origin],
            name=completion.model_answered or completion.model_asked,
            version=None,
            licence=None,
            location=location,
        ),
    )
