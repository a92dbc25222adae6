"""The one module that joins the rooms: from a configuration to a record, and to MLflow.

Whatever can be refused is refused before anything is asked for or measured: the provider's key,
the store, the sizes, the prompt. Does not cover how the jobs of a sweep are run: that is Hydra's;
nor what they leave to each other: see sweep.py.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonexp import jobs, operations
from tritonexp.errors import TrackingError
from tritonexp.protocols import Judge
from tritonexp.records import (
    SCHEMA,
    Attempt,
    Choices,
    Evaluation,
    Mode,
    Prompt,
    StudyRecord,
    TimingProtocol,
    sha256_of,
)
from tritonexp.sweep import Bench, Question, Say, Sweep, Turn

if TYPE_CHECKING:
    from tritonexp.config import ModelConfig, StudyConfig, TrackingConfig
    from tritonexp.protocols import Provider
    from tritonexp.tracking import Store

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
    ahead: Sweep | None = None,
    note: Say = print,
    open_referee: OpenReferee | None = None,
) -> Finished:
    """Run one job from prompt to verdict; raises TritonExpError where the harness cannot.

    `progress` is told what is being done, `note` what is worth a line that stays. `sweep` is the id
    of the sweep that it is a job of, `ahead` what it shares with the other jobs; without it the
    study is alone. `open_referee` takes the keyword arguments of evaluation.Referee, which is the
    default.
    """
    from tritonexp import strategies

    started = datetime.now(UTC).isoformat(timespec="seconds")
    with ExitStack() as hold:
        ahead = hold.enter_context(Sweep()) if ahead is None else ahead
        question = ahead.take(config)
        if question is not None:
            hold.callback(question.close)
        _checked(config)
        progress("opening the MLflow store")
        store = open_store(config.tracking)
        opening = partial(_open_bench, config, open_referee or _referee())
        bench = hold.enter_context(ahead.bench(config, opening, progress))
        operation, recorded, mode = bench.operation, bench.recorded, bench.referee.mode
        if mode is Mode.INTERPRETER:
            note(
                "No GPU here: kernels are verified in Triton's interpreter at small sizes and"
                " nothing is timed, whatever sizes= and timing= say."
            )
        ask = partial(_ask, config, bench)
        if question is None:
            question = ask(config)
            hold.callback(question.close)
        attempts, chosen = strategies.run(
            config.strategy.name,
            question.prompt,
            question.provider,
            Turn(ahead, config, question, bench, ask),
            operation.brief,
            progress,
            n=config.strategy.n,
        )
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
        choices=dataclasses.replace(choices_of(config), prompt=question.prompt.name),
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


def load_operation(config: StudyConfig) -> operations.Operation:
    """Load the operation of a job, with the expert that it asks for."""
    operation = operations.load(config.operation.name)
    return operations.with_expert(operation, config.expert.name, config.expert.path)


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


@contextmanager
def _open_bench(config: StudyConfig, open_referee: OpenReferee, progress: Say) -> Iterator[Bench]:
    """Load what a job is about, and open its referee."""
    progress(f"loading {config.operation.name}")
    operation = load_operation(config)
    recorded = jobs.recorded_evaluations(operation.folder / "evaluations")
    progress("opening the referee")
    arguments = referee_arguments(config, operation)
    with open_referee(**arguments, progress=progress) as referee:
        # once, since later on its own workers hold some of the memory
        referee.check_fits()
        yield Bench(referee, operation, recorded)


def _checked(config: StudyConfig) -> tuple[Provider, int]:
    """The provider of a job and how many answers it is asked for; raises what it would."""
    from tritonexp import strategies

    provider = provider_for(config.model, config.operation.name)
    provider.check()
    provider.facts(config.prompt.name)
    count = strategies.asks(config.strategy.name, config.strategy.n)
    # whoever is sent no prompt has one answer
    return provider, count if provider.takes_prompt else 1


def _ask(config: StudyConfig, bench: Bench, job: StudyConfig) -> Question:
    """Ask for the answers of a job, at the bench of this or of another one."""
    from tritonexp import prompting
    from tritonexp.generation.asking import AskedAhead

    provider, count = _checked(job)
    operation = bench.operation
    if (job.operation, job.expert, job.sizes) != (config.operation, config.expert, config.sizes):
        operation = load_operation(job)
        # sizes that cannot be end a job before its model is asked
        referee_arguments(job, operation)
    facts = provider.facts(job.prompt.name) or bench.facts
    prompt = Prompt(name="none", components=(), text="", facts=facts)
    if provider.takes_prompt:
        prompt = prompting.render(
            operation.brief,
            job.prompt.name,
            job.prompt.components,
            facts,
            operation.guarded_sources,
        )
    return Question(AskedAhead(provider, prompt, count), prompt, operation.brief, count)


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
