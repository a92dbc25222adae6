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

from tritonexp import answers, commands, jobs, operations, recorded
from tritonexp.errors import ConfigError, TrackingError
from tritonexp.protocols import Judge
from tritonexp.records import (
    SCHEMA,
    Attempt,
    Choices,
    Mode,
    Prompt,
    Size,
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
        operation, mode = bench.operation, bench.referee.mode
        if mode is Mode.INTERPRETER:
            note(
                "No GPU here: kernels are verified in Triton's interpreter at small sizes and"
                " nothing is timed, whatever sizes= and timing= say."
            )
        ask = partial(_ask, config, bench, sweep, note)
        if question is None:
            question = ask(config)
            hold.callback(question.close)
        turn = Turn(ahead, config, question, bench, ask)
        attempts, chosen = strategies.run(
            config.strategy.name,
            question.prompt,
            question.provider,
            turn,
            operation.brief,
            progress,
            n=config.strategy.n,
        )
    for reason in _why_not_profiled(attempts):
        note(f"profile={config.profile.name} was asked for and measured nothing: {reason}.")
    if (remark := strategies.remark(config.strategy.name, attempts, chosen, turn)) is not None:
        note(remark)
    source = attempts[chosen].source
    shown = None if source is None else bench.recorded(source)
    for line in () if shown is None else shown.notes:
        note(line)
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
        recorded_evaluation=None if shown is None else shown.evaluation,
    )
    folder = jobs.keep(record, Path(config.tracking.folder))
    question.answers.release(attempt.completion for attempt in attempts)
    progress("writing the report")
    jobs.fill(folder)
    progress("logging to MLflow")
    return _logged(record, folder, store, Path(config.tracking.folder), mode)


def log_pending(
    folders: Sequence[Path],
    *,
    home: Path | None = None,
    experiment: str | None = None,
    uri: str | None = None,
) -> tuple[Finished, ...]:
    """Log job folders that MLflow has not taken; what a folder lacks is made from its record.

    Each goes where its own configuration says, but for what is given here; "" for the uri is the
    tracking folder's own store. A store that cannot be used keeps none from the others.
    """
    records = [jobs.fill(folder) for folder in folders]
    # opened once each, since one that is not there takes seconds to find out
    opened: dict[tuple[str, ...], Store | TrackingError] = {}
    found = []
    for record, folder in zip(records, folders, strict=True):
        tracking = _tracking_of(record, home or jobs.home_of(folder), experiment, uri)
        key = (tracking.folder, tracking.experiment, tracking.uri or "")
        if key not in opened:
            try:
                opened[key] = open_store(tracking)
            except TrackingError as error:
                opened[key] = error
        store = opened[key]
        found.append(
            _unlogged(record, folder, "", store)
            if isinstance(store, TrackingError)
            else _logged(record, folder, store, Path(tracking.folder))
        )
    return tuple(found)


def compare_sweep(store: Store, sweep: str, folder: Path, not_done: Sequence[str] = ()) -> str:
    """Compare a sweep's runs in a report that is logged too; return what to tell the user.

    `not_done` are the jobs that failed, each as "job: why". Raises TrackingError for a sweep
    without runs.
    """
    from tritonexp import report

    records = store.records(sweep)
    if not records:
        known = ", ".join(store.sweeps()) or "none"
        raise TrackingError(f"no run of the sweep {sweep!r} is in the store; there are: {known}.")
    folder.mkdir(parents=True, exist_ok=True)
    metrics = report.write_comparison(records, sweep, folder / "report", not_done)
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
    recordings = recorded.recordings_in(operation.folder / "evaluations")
    progress("opening the referee")
    arguments = referee_arguments(config, operation)
    asked = _asked_for(**arguments)
    with open_referee(**arguments, progress=progress) as referee:
        # once, since later on its own workers hold some of the memory
        referee.check_fits()

        def recorded_of(source: str) -> recorded.Shown | None:
            # on a GPU a run's own figures stand alone
            found = recordings.get(sha256_of(source))
            is_shown = found is not None and referee.mode is Mode.INTERPRETER
            return recorded.show(found, asked) if found and is_shown else None

        yield Bench(referee, operation, recorded_of)


def _asked_for(
    *,
    operation: operations.Operation,
    sizes: tuple[Size, ...],
    protocol: TimingProtocol,
    expert: str,
    contenders: tuple[str, ...],
    profile: str | None,
    **_: Any,
) -> recorded.Asked:
    """What a recorded evaluation is to answer, from what a referee is opened with."""
    default = operation.experts[0].name if operation.experts else None
    return recorded.Asked(
        sizes=sizes,
        protocol=protocol,
        choice=expert,
        expert={"auto": default, "none": None}.get(expert, expert),
        contenders=contenders,
        profiler=profile,
    )


def _checked(config: StudyConfig) -> tuple[Provider, int]:
    """The provider of a job and how many answers it is asked for; raises what it would."""
    from tritonexp import prompting, strategies

    operations.check_name(config.operation.name)
    count = strategies.asks(config.strategy.name, config.strategy.n)
    for component in config.prompt.components:
        prompting.check_component(component, config.prompt.name)
    provider = provider_for(config.model, config.operation.name)
    provider.check()
    provider.facts(config.prompt.name)
    if count > 1 and not provider.takes_prompt:
        raise ConfigError(
            f"strategy={config.strategy.name} asks for {count} answers, but model={provider.name}"
            " has one whatever it is asked; leave the strategy out, or choose a model that answers"
            " a prompt, such as model=recorded."
        )
    return provider, count


def _ask(
    config: StudyConfig, bench: Bench, sweep: str | None, note: Say, job: StudyConfig
) -> Question:
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
    home = Path(job.tracking.folder)
    keeping = answers.Keeping(provider, home, operation.name, sweep, note)
    asked = AskedAhead(keeping, prompt, count)
    return Question(asked, prompt, operation.brief, count, keeping)


def _why_not_profiled(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Why the profiler that was asked for measured nothing, each reason once."""
    profiles = [item.evaluation.profile for item in attempts if item.evaluation is not None]
    return tuple(dict.fromkeys(item.reason for item in profiles if item and item.reason))


def _tracking_of(
    record: StudyRecord, home: Path | None, experiment: str | None, uri: str | None
) -> TrackingConfig:
    """Where a record is logged: as its configuration says, but for what is given."""
    from tritonexp.config import TrackingConfig

    own = record.config.get("tracking") or {}
    return TrackingConfig(
        folder=str(home or own.get("folder") or commands.FOLDER),
        experiment=experiment or own.get("experiment") or commands.EXPERIMENT,
        uri=(own.get("uri") if uri is None else uri) or None,
    )


def _logged(
    record: StudyRecord, folder: Path, store: Store, home: Path, mode: Mode | None = None
) -> Finished:
    try:
        run = store.log(folder, mode)
    except TrackingError as error:
        told = TrackingError(f"{error} To log all that wait: {commands.log(home)}")
        return _unlogged(record, folder, store.ui_command, told)
    # only what was kept by us goes away; a folder that the user named is the user's
    if folder.resolve().parent == jobs.pending_in(home).resolve():
        jobs.dismiss(folder)
    local = home / "artifacts" / run / "artifacts" / "report.md"
    report = local if local.is_file() else f"artifact report.md of run {run}"
    return Finished(record=record, report=report, ui_command=store.ui_command, tracking_error=None)


def _unlogged(record: StudyRecord, folder: Path, ui_command: str, error: TrackingError) -> Finished:
    return Finished(
        record=record, report=folder / "report.md", ui_command=ui_command, tracking_error=error
    )


def _plain(config: StudyConfig) -> dict[str, Any]:
    # as JSON and YAML hold it, so that the record is the same when it is read back
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
