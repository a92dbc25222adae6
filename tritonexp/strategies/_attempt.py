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
    following: Implementation | None = None,
) -> Attempt:
    """Extract the code and have it evaluated, where there is any.

    `following` is what the same strategy is going to have evaluated next.
    """
    candidate, evaluation = candidate_in(completion, prompt, brief), None
    if candidate is not None:
        upcoming = None if following is None else lambda: following
        evaluation = evaluator.evaluate(candidate, upcoming)
        status, reason = evaluation.status, evaluation.candidate.reason
    elif completion.failure is not None:
        status, reason = completion.failure, completion.reason
    else:
        status = Status.NO_CODE
        reason = f"the answer holds no Python code that defines {brief.entry_point}"
    return Attempt(
        number=number,
        prompt=prompt,
        completion=completion,
        source=None if candidate is None else candidate.source,
        status=status,
        reason=reason,
        evaluation=evaluation,
    )


def candidate_in(
    completion: Completion, prompt: Prompt, brief: OperationBrief
) -> Implementation | None:
    """The code of an answer, as it is evaluated; None where there is none."""
    source = None
    # what was cut off is not the model's kernel, even where it holds code
    if completion.failure is None:
        source = _source(completion, brief.entry_point)
    return None if source is None else _candidate(source, prompt, completion, brief)


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
