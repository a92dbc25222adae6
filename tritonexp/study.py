"""The one module that joins the rooms: from a configuration to a record, and to MLflow.

Whatever can be refused is refused before anything is asked for or measured: the provider's key,
the store, the sizes, the prompt. Does not cover how the jobs of a sweep are run: that is Hydra's.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tritonexp import jobs, operations
from tritonexp.errors import TrackingError
from tritonexp.records import (
    SCHEMA,
    Attempt,
    Choices,
    Evaluation,
    Implementation,
    MachineFacts,
    Mode,
    Prompt,
    StudyRecord,
    TimingProtocol,
    sha256_of,
)

if TYPE_CHECKING:
    from tritonexp.config import ModelConfig, StudyConfig, TrackingConfig
    from tritonexp.protocols import Provider
    from tritonexp.tracking import Store

Say = Callable[[str], None]


class Judge(Protocol):
    """What a study asks of an opened referee."""

    @property
    def mode(self) -> Mode:
        """Where kernels are run."""

    def facts(self) -> MachineFacts:
        """Tell what a prompt may say of this machine."""

    def check_fits(self) -> None:
        """Raise DoesNotFitError for a size that the GPU's free memory cannot hold."""

    def evaluate(self, candidate: Implementation) -> Evaluation:
        """Verify and, where possible, time a candidate beside its references."""


OpenReferee = Callable[..., AbstractContextManager[Judge]]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A study's record and where it went."""

    record: StudyRecord
    report: Path | str
    ui_command: str
    # what kept the record out of MLflow; None where it is in
    tracking_error: TrackingError | None


def new_id() -> str:
    """Name a study or a sweep: sorts by time, and two of one second differ."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def run_study(
    config: StudyConfig,
    progress: Say,
    *,
    sweep: str | None = None,
    note: Say = print,
    open_referee: OpenReferee | None = None,
) -> Finished:
    """Run one job from prompt to verdict; raises TritonExpError where the harness cannot.

    `progress` is told what is being done, `note` what is worth a line that stays.
    `open_referee` takes the keyword arguments of evaluation.Referee, which is the default.
    """
    from tritonexp import prompting, strategies

    started = datetime.now(UTC).isoformat(timespec="seconds")
    provider = provider_for(config.model, config.operation.name)
    provider.check()
    told = provider.facts(config.prompt.name)
    progress("opening the MLflow store")
    store = open_store(config.tracking)
    progress(f"loading {config.operation.name}")
    operation = operations.load(config.operation.name)
    operation = operations.with_expert(operation, config.expert.name, config.expert.path)
    recorded = jobs.recorded_evaluations(operation.folder / "evaluations")
    progress("opening the referee")
    arguments = referee_arguments(config, operation)
    with (open_referee or _referee())(**arguments, progress=progress) as referee:
        if referee.mode is Mode.INTERPRETER:
            note(
                "No GPU here: kernels are verified in Triton's interpreter at small sizes and"
                " nothing is timed, whatever sizes= and timing= say."
            )
        referee.check_fits()
        facts = told or referee.facts()
        prompt = (
            prompting.render(
                operation.brief,
                config.prompt.name,
                config.prompt.components,
                facts,
                operation.guarded_sources,
            )
            if provider.takes_prompt
            else Prompt(name="none", components=(), text="", facts=facts)
        )
        attempts, chosen = strategies.run(
            config.strategy.name,
            prompt,
            provider,
            referee,
            operation.brief,
            progress,
            n=config.strategy.n,
        )
        mode = referee.mode
    for reason in _why_not_profiled(attempts):
        note(f"profile={config.profile.name} was asked for and measured nothing: {reason}.")
    source = attempts[chosen].source
    beside = None
    if mode is Mode.INTERPRETER and source is not None:
        beside = recorded.get(sha256_of(source))
    if beside is not None:
        beside = _with_expert_asked_for(beside, operation, config.expert.name, note)
    record = StudyRecord(
        schema=SCHEMA,
        study_id=new_id(),
        sweep=sweep,
        started=started,
        choices=dataclasses.replace(choices_of(config), prompt=prompt.name),
        config=_plain(config),
        brief=operation.brief,
        attempts=attempts,
        chosen=chosen,
        recorded_evaluation=beside,
    )
    folder = jobs.keep(record, Path(config.tracking.folder))
    progress("writing the report")
    jobs.fill(folder)
    progress("logging to MLflow")
    return _logged(record, folder, store, Path(config.tracking.folder))


def log_pending(folders: Sequence[Path], tracking: TrackingConfig) -> tuple[Finished, ...]:
    """Log job folders that MLflow has not taken; what a folder lacks is made from its record."""
    records = [jobs.fill(folder) for folder in folders]
    store = open_store(tracking)
    home = Path(tracking.folder)
    return tuple(
        _logged(record, folder, store, home)
        for record, folder in zip(records, folders, strict=True)
    )


def compare_sweep(store: Store, sweep: str, folder: Path) -> str:
    """Compare a sweep's runs in a report that is logged too; return what to tell the user.

    Raises TrackingError for a sweep without runs.
    """
    from tritonexp import report

    records = store.records(sweep)
    if not records:
        known = ", ".join(store.sweeps()) or "none"
        raise TrackingError(f"no run of the sweep {sweep!r} is in the store; there are: {known}.")
    folder.mkdir(parents=True, exist_ok=True)
    metrics = report.write_comparison(records, sweep, folder / "report")
    # a group's figures stand in the report: as metrics, each would get charts of its own in the UI
    headline = {name: value for name, value in metrics.items() if "/" not in name}
    store.log_report(sweep, folder / "report", headline)
    return (
        f"{len(records)} runs compared: {folder / 'report' / 'comparison.md'}\n"
        f"open the UI: {store.ui_command}"
    )


def open_store(config: TrackingConfig) -> Store:
    """Open the MLflow store, or create it; raises TrackingError where it cannot be used."""
    from tritonexp.tracking import Store

    return Store.open(Path(config.folder), experiment=config.experiment, uri=config.uri)


def provider_for(model: ModelConfig, operation: str) -> Provider:
    """Make the provider that a model is configured for."""
    from tritonexp.generation import ProviderSettings, make_provider

    return make_provider(
        ProviderSettings(
            **dataclasses.asdict(model),
            operation=operation,
            recorded_dir=operations.KERNELS_DIR / operation / "recorded",
        )
    )


def referee_arguments(config: StudyConfig, operation: operations.Operation) -> dict[str, Any]:
    """Say what a referee is opened with; raises ConfigError for a size that cannot be."""
    extents = config.sizes.ladder if config.sizes.custom is None else config.sizes.custom
    return {
        "operation": operation,
        "sizes": tuple(operation.spec.size(tuple(extent)) for extent in extents),
        "protocol": TimingProtocol(**dataclasses.asdict(config.timing)),
        "expert": config.expert.name,
        "contenders": tuple(config.contenders),
        "seed": config.seed,
        "sandbox": config.sandbox,
        "profile": config.profile.tool,
    }


def choices_of(config: StudyConfig) -> Choices:
    """Name what was chosen in each group."""
    return Choices(
        operation=config.operation.name,
        model=config.model.name,
        prompt=config.prompt.name,
        strategy=config.strategy.name,
        sizes=config.sizes.label,
        timing=config.timing.name,
        expert=config.expert.name,
        seed=config.seed,
    )


def _referee() -> OpenReferee:
    from tritonexp.evaluation import Referee

    return Referee


def _why_not_profiled(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Why the profiler that was asked for measured nothing, each reason once."""
    profiles = [item.evaluation.profile for item in attempts if item.evaluation is not None]
    return tuple(dict.fromkeys(item.reason for item in profiles if item and item.reason))


def _with_expert_asked_for(
    recorded: Evaluation, operation: operations.Operation, choice: str, note: Say
) -> Evaluation:
    """A recorded evaluation without the figures of another expert; notes what it lacks instead."""
    default = operation.experts[0].name if operation.experts else None
    asked = {"auto": default, "none": None}.get(choice, choice)
    held = recorded.expert
    name = None if held is None else held.implementation.name
    if name == asked:
        return recorded
    if asked is not None:
        note(
            f"The recorded evaluation of this kernel holds {'no expert' if name is None else name},"
            f" not expert={choice}, so no ratio over an expert is shown."
        )
    return dataclasses.replace(
        recorded,
        references=tuple(trial for trial in recorded.references if trial is not held),
        comparisons=tuple(
            item for item in recorded.comparisons if name not in {item.subject, item.reference}
        ),
    )


def _logged(record: StudyRecord, folder: Path, store: Store, home: Path) -> Finished:
    try:
        run = store.log(folder)
    except TrackingError as error:
        kept: TrackingError | None = TrackingError(
            f"{error} To log all that wait: python -m tritonexp log"
        )
        report: Path | str = folder / "report.md"
    else:
        kept = None
        # only what was kept by us goes away; a folder that the user named is the user's
        if folder.resolve().parent == jobs.pending_in(home).resolve():
            jobs.dismiss(folder)
        local = home / "artifacts" / run / "artifacts" / "report.md"
        report = local if local.is_file() else f"artifact report.md of run {run}"
    return Finished(record=record, report=report, ui_command=store.ui_command, tracking_error=kept)


def _plain(config: StudyConfig) -> dict[str, Any]:
    # as JSON and YAML hold it, so that the record is the same when it is read back
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
