"""A provider that says what it is told to, and a judge that measures what it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonexp.records import (
    Clock,
    Comparison,
    Completion,
    Environment,
    Evaluation,
    Implementation,
    MachineFacts,
    Mode,
    Outcome,
    Prompt,
    Provenance,
    Role,
    Status,
    Trial,
)

FACTS = MachineFacts(
    triton_version="3.7.1",
    gpu_name=None,
    compute_capability=None,
    sm_count=None,
    shared_memory_per_block_bytes=None,
    l2_bytes=None,
    bandwidth_gb_s=None,
)


def completion(text: str, origin: str = "api", **changes: object) -> Completion:
    """Make an answer of a provider."""
    values: dict[str, object] = {
        "text": text,
        "model_asked": "claude-sonnet-5-5",
        "model_answered": None,
        "stop_reason": None,
        "usage": None,
        "cost_usd": None,
        "latency_s": None,
        "request_id": None,
        "failure": None,
        "reason": "",
        "origin": origin,
        "sample": None,
        "recorded_on": None,
    }
    return Completion(**{**values, **changes})


def answer(kernel: str) -> Completion:
    """Make an answer whose kernel can be told from others by its comment."""
    return completion(f"```python\ndef softmax(x):\n    return x  # {kernel}\n```\n")


@dataclass
class ScriptedProvider:
    """Gives its completions in turn, and raises an exception that stands among them."""

    script: list[Completion | Exception]
    name: str = "scripted"
    prompts: list[Prompt] = field(default_factory=list)

    def check(self) -> None:
        """Pass."""

    def facts(self, prompt: str) -> MachineFacts | None:
        """Leave the facts to the machine."""

    def complete(self, prompt: Prompt) -> Completion:
        """Give the next completion."""
        self.prompts.append(prompt)
        item = self.script[len(self.prompts) - 1]
        if isinstance(item, Exception):
            raise item
        return item


@dataclass
class ScriptedJudge:
    """Judges a candidate by a word that its source holds: (status, speed-up over the baseline)."""

    verdicts: Mapping[str, tuple[Status, float | None]]
    candidates: list[Implementation] = field(default_factory=list)

    def evaluate(self, candidate: Implementation) -> Evaluation:
        """Give the verdict of the word."""
        self.candidates.append(candidate)
        status, speedup = next(v for word, v in self.verdicts.items() if word in candidate.source)
        return evaluation(candidate, status, speedup)


def trial(implementation: Implementation, status: Status) -> Trial:
    """Make a trial without figures."""
    return Trial(
        implementation=implementation,
        status=status,
        reason="" if status is Status.CORRECT else f"why it is {status}",
        log="",
        cases=(),
        kernels=(),
        compiled=(),
        timings=(),
        first_call_s=None,
    )


def evaluation(candidate: Implementation, status: Status, speedup: float | None) -> Evaluation:
    """Make an evaluation whose only figure is the speed-up over the baseline."""
    baseline = Implementation(
        name="baseline",
        role=Role.BASELINE,
        source="def softmax(x): ...",
        entry_point="softmax",
        provenance=Provenance(
            origin="baseline", name="naive", version=None, licence=None, location=None
        ),
    )
    comparison = Comparison(
        subject="candidate",
        reference="baseline",
        clock=Clock.GRAPH,
        size=None,
        speedup=speedup,
        interval=None,
        outcome=Outcome.FAILED if speedup is None else Outcome.FASTER,
        reason="",
    )
    return Evaluation(
        mode=Mode.GPU,
        operation="softmax",
        sizes=(),
        dtype="float32",
        protocol=None,
        environment=Environment(
            date="2026-11-22T00:00:00+00:00",
            gpu=None,
            cpu="cpu",
            platform="Linux",
            python="3.11",
            torch="2.13.0",
            triton="3.7.1",
            tritonexp="0",
            packages={},
            sandbox="none",
        ),
        ceilings=None,
        candidate=trial(candidate, status),
        references=(trial(baseline, Status.CORRECT),),
        comparisons=(comparison,),
        duration_s=0.0,
    )
