"""python -m tritonexp: what is done without running a study.

Reports again, records and answers that wait, the list of operations, the workflow of recording a
response, the red team before the referee, and a diagnosis of the installation. Running a study is
run.py's.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tritonexp import commands
from tritonexp.errors import ConfigError, PromptError, TritonExpError
from tritonexp.records import MachineFacts, Prompt, Status, fault_of, from_json, to_json

if TYPE_CHECKING:
    from tritonexp.answers import PaidAnswer
    from tritonexp.config import TrackingConfig
    from tritonexp.records import Gpu, Implementation

UNKNOWN_MODEL = "Claude (exact version not recorded)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 1 where it could not be done."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except TritonExpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


def report(options: argparse.Namespace) -> int:
    """Compare a sweep again, or write the report of one record again."""
    from tritonexp import jobs, study
    from tritonexp import report as reports

    if (options.record is None) == (options.sweep is None):
        raise ConfigError("give either a record.json or --sweep ID, as in mlruns/sweeps/ID.")
    if options.record is not None:
        folder = options.output or options.record.parent
        folder.mkdir(parents=True, exist_ok=True)
        reports.write(jobs.read(options.record), folder)
        print(f"report: {folder / 'report.md'}")
        return 0
    home = jobs.sweep_in(_home(options), options.sweep)
    store = study.open_store(_tracking(options))
    not_done = jobs.failures_in(home)
    print(study.compare_sweep(store, options.sweep, options.output or home, not_done))
    return 0


def log(options: argparse.Namespace) -> int:
    """Log the records that MLflow has not taken, and list the answers that have no record."""
    from tritonexp import jobs, study

    home = _home(options)
    folders = options.folders or jobs.waiting(home)
    if not folders:
        print(f"nothing waits in {jobs.pending_in(home)}")
    failed = False
    for finished in study.log_pending(
        folders, home=options.folder, experiment=options.experiment, uri=options.uri
    ):
        print(f"{finished.record.study_id} {finished.record.name}: {finished.report}")
        if finished.tracking_error is not None:
            print(f"error: {finished.tracking_error}", file=sys.stderr)
            failed = True
    _list_answers(home)
    return int(failed)


def _list_answers(home: Path) -> None:
    """Say which answers wait in a tracking folder, and how to keep each."""
    from tritonexp import answers
    from tritonexp.generation.recorded_provider import samples
    from tritonexp.operations import KERNELS_DIR

    folders = answers.waiting(home)
    for folder in folders:
        found = answers.read(folder)
        recorded = KERNELS_DIR / found.operation / "recorded"
        sample = max(samples(recorded, found.prompt.name), default=0) + 1
        what = ("record", found.operation, found.prompt.name, str(folder), "--sample", str(sample))
        print(
            f"an answer of {found.model} to {found.job}, {found.date}, waits in {folder}; to keep"
            f" it for model=recorded: {commands.PROGRAM} {shlex.join(what)}"
        )
    if folders:
        print("Those of a run that is still under way are its own: leave them until it is done.")


def operations(_: argparse.Namespace) -> int:
    """List the operations with their patterns, dtypes, experts and contenders."""
    from rich.table import Table

    from tritonexp import operations as rooms
    from tritonexp.terminal import show

    table = Table("operation", "pattern", "arguments", "dtypes", "expert", "contenders", "recorded")
    for name in rooms.names():
        operation = rooms.load(name)
        prompts = sorted(path.parent.name for path in operation.folder.glob("recorded/*/*.md"))
        table.add_row(
            name,
            operation.spec.pattern,
            operation.brief.signature.partition(" ->")[0],
            ", ".join(operation.spec.dtypes),
            ", ".join(
                (
                    *map(_versioned, operation.experts),
                    *(f"{one.name} ({one.file}, {one.licence})" for one in operation.tutorials),
                )
            )
            or "-",
            ", ".join(contender.name for contender in operation.contenders) or "-",
            ", ".join(f"{one} {prompts.count(one)}" for one in dict.fromkeys(prompts)) or "-",
        )
    show(table)
    return 0


def prompt(options: argparse.Namespace) -> int:
    """Render a prompt, as a model would be shown it."""
    rendered = _rendered(options)
    if options.output is None:
        sys.stdout.write(rendered.text)
        return 0
    # newline="" keeps the text that the hash is of
    with options.output.open("w", encoding="utf-8", newline="") as file:
        file.write(rendered.text)
    print(f"{options.output}: sha256 {rendered.sha256}")
    return 0


def record(options: argparse.Namespace) -> int:
    """Keep a model's response to a rendered prompt, so that model=recorded plays it back."""
    from tritonexp import answers
    from tritonexp.generation.recorded_provider import recording_path, write_recording
    from tritonexp.operations import KERNELS_DIR

    if options.sample < 1:
        raise ConfigError(f"--sample {options.sample} is no number of a sample; give 1 or more.")
    waits = options.response.is_dir()
    if waits:
        found = answers.read(options.response)
        _check_answer(found, options)
        rendered, response = found.prompt, found.completion.text
        date, model = found.date.partition("T")[0], found.model
    else:
        if options.date is None:
            raise ConfigError("--date is missing: give the day of the answer, as in 2026-11-23.")
        rendered, response = _rendered(options), _response(options.response)
        date, model = options.date, UNKNOWN_MODEL
    folder = KERNELS_DIR / options.operation / "recorded"
    path = recording_path(folder, options.prompt, options.sample)
    write_recording(
        path,
        rendered,
        response,
        options.date or date,
        options.model or model,
        options.sample,
        # what was refused came whole
        complete=not waits or found.completion.failure in {None, Status.REFUSED},
    )
    print(f"{path}: answers the prompt of sha256 {rendered.sha256}")
    if waits:
        answers.dismiss(options.response)
        print(f"{options.response} is removed, since the answer is kept")
    return 0


def _check_answer(found: PaidAnswer, options: argparse.Namespace) -> None:
    """Raise ConfigError where an answer that waits is not one to what was named."""
    if (found.operation, found.prompt.name) != (options.operation, options.prompt):
        raise ConfigError(
            f"{options.response} answers {found.operation} {found.prompt.name}, not"
            f" {options.operation} {options.prompt}; name what it answers."
        )
    if options.facts is not None:
        raise ConfigError(
            f"--facts {options.facts} is of no use with {options.response}, which has the prompt as"
            " it was sent; leave it out."
        )


def _response(path: Path) -> str:
    try:
        return _read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}.") from error


def redteam(options: argparse.Namespace) -> int:
    """Have the referee judge cheats and odd but honest kernels; 1 where it is wrong about one."""
    from tritonexp.redteam import bench, document, fixtures, resuming
    from tritonexp.redteam.findings import Findings
    from tritonexp.terminal import show

    if options.jobs < 1:
        raise ConfigError(f"--jobs {options.jobs} judges nothing; give 1 or more.")
    for path in (options.json, options.markdown):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{path} cannot be written: its folder is absent; make that first.")
    begin = time.monotonic()
    sandbox = options.sandbox == "on"
    mode = bench.mode_here()
    found = fixtures.read_folder(options.folder or fixtures.FOLDER, options.only)
    chosen = fixtures.applying(found, mode)
    if len(chosen) < len(found):
        print(
            f"{len(found) - len(chosen)} of {len(found)} fixtures need a GPU and are left out",
            file=sys.stderr,
        )
    findings = Findings(environment=bench.environment_here(sandbox=sandbox), verdicts=())
    if options.resume is not None:
        taken = resuming.take_over(options.resume, chosen, mode, findings.environment)
        findings = dataclasses.replace(findings, verdicts=taken)
        told = f"{len(taken)} of {len(chosen)} verdicts are taken over from {options.resume}"
        print(told, file=sys.stderr, flush=True)
        if options.json is not None:
            document.write_json(findings, options.json)
    done = {verdict.fixture for verdict in findings.verdicts}
    left = [fixture for fixture in chosen if fixture not in done]
    for verdict in bench.judge(left, mode, sandbox=sandbox, jobs=options.jobs) if left else ():
        findings = dataclasses.replace(findings, verdicts=(*findings.verdicts, verdict))
        # at once, and each time the whole file: a run that is killed keeps what it had
        if options.json is not None:
            document.write_json(findings, options.json)
        passed = timedelta(seconds=int(time.monotonic() - begin))
        count = f"{len(findings.verdicts)}/{len(chosen)}"
        print(f"{passed} {count} {verdict}", file=sys.stderr, flush=True)
    if options.markdown is not None:
        text = document.as_markdown(findings, options.markdown.parent)
        options.markdown.write_text(text, encoding="utf-8")
    show(*document.tables(findings))
    return int(bool(findings.problems))


def calibrate(options: argparse.Namespace) -> int:
    """Time a kernel against itself, and tell how often this machine is wrong about it."""
    from rich.table import Table

    from tritonexp import operations as rooms
    from tritonexp import study
    from tritonexp.config import compose
    from tritonexp.evaluation import calibration
    from tritonexp.statistics import proportion_interval
    from tritonexp.terminal import show

    chosen = (f"{key}={getattr(options, key)}" for key in ("operation", "sizes", "timing"))
    config = compose([*chosen, f"sandbox={options.sandbox}"])
    operation = rooms.load(options.operation)
    arguments = study.referee_arguments(config, operation)
    found = calibration.calibrate(
        operation,
        arguments["sizes"],
        arguments["protocol"],
        pairs=options.pairs,
        seed=config.seed,
        sandbox=config.sandbox,
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    table = Table("size", "pairs", "false verdicts", "95 % interval", "ratios", "A/A intervals")
    for item in found.sizes:
        span = proportion_interval(item.false_verdicts, item.pairs)
        table.add_row(
            item.size.label,
            str(item.pairs),
            str(item.false_verdicts),
            f"{span.low:.2%} to {span.high:.2%}",
            f"{item.ratios.low:.4f} to {item.ratios.high:.4f}",
            f"within {item.usual_reach:.2%}, at most {item.largest_reach:.2%}",
        )
    show(table)
    if options.json is not None:
        options.json.write_text(to_json(found), encoding="utf-8")
    return 0


def facts(_: argparse.Namespace) -> int:
    """Print this machine's facts as --facts takes them."""
    sys.stdout.write(to_json(_machine_facts()))
    return 0


def _rendered(options: argparse.Namespace) -> Prompt:
    from tritonexp import operations as rooms
    from tritonexp import prompting
    from tritonexp.config import compose

    overrides = [f"operation={options.operation}", f"prompt={options.prompt}"]
    config = compose(overrides)
    operation = rooms.load(options.operation)
    known = _machine_facts() if options.facts is None else _facts_in(options.facts)

    def render(facts: MachineFacts) -> Prompt:
        return prompting.render(
            operation.brief,
            config.prompt.name,
            config.prompt.components,
            facts,
            operation.guarded_sources,
        )

    try:
        return render(known)
    except PromptError as error:
        if known.gpu_name is not None:
            raise
        # what is wrong with a GPU's figures too is wrong for another reason, and is raised here
        render(_with_a_gpu(known))
        raise PromptError(
            f"the prompt {options.prompt!r} tells of a GPU, but"
            f" {options.facts or 'this machine'} has none. Render it with --facts facts.json, which"
            " `python -m tritonexp facts > facts.json` writes on a machine with the GPU, or choose"
            " a prompt that tells of none, such as baseline_only."
        ) from error


def _with_a_gpu(known: MachineFacts) -> MachineFacts:
    """Facts that are never shown: they only tell whether a prompt lacks more than a GPU."""
    return dataclasses.replace(
        known,
        gpu_name="any",
        compute_capability="9.0",
        sm_count=1,
        shared_memory_per_block_bytes=1,
        l2_bytes=1,
        bandwidth_gb_s=1.0,
    )


def _facts_in(path: Path) -> MachineFacts:
    try:
        return from_json(MachineFacts, _read_bytes(path))
    except ValueError as error:
        raise ConfigError(
            f"{path} holds no machine facts ({fault_of(error)});"
            " `python -m tritonexp facts` prints this machine's."
        ) from error


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; name a readable file."
        ) from error


def doctor(options: argparse.Namespace) -> int:
    """Say what works here: versions, GPU, sandbox, store and key; 1 where a study cannot run."""
    from rich.table import Table

    from tritonexp import answers, jobs, study
    from tritonexp.evaluation import confinement, environment
    from tritonexp.terminal import show

    try:
        confinement.check()
        walls = confinement.description()
    except TritonExpError as error:
        walls = f"not usable: {error}"
    found = environment.describe(environment.find_gpu(), walls)
    try:
        store, usable = study.open_store(_tracking(options)).ui_command, True
    except TritonExpError as error:
        store, usable = f"not usable: {error}", False
    gpu = found.gpu
    clock_state, lease_state, leasable = _gpu_states(gpu)
    home = _home(options)
    paid = len(answers.waiting(home))
    table = Table(show_header=False)
    for name, text in (
        ("python", found.python),
        ("tritonexp", found.tritonexp),
        ("torch", found.torch),
        ("triton", found.triton),
        *found.packages.items(),
        (
            "GPU",
            "none: kernels are verified in Triton's interpreter, nothing is timed"
            if gpu is None
            else f"{gpu.name}, compute {gpu.compute_capability}, driver {gpu.driver}",
        ),
        ("GPU clocks", clock_state),
        ("GPU lease", lease_state),
        ("sandbox", found.sandbox),
        ("MLflow store", store),
        ("ANTHROPIC_API_KEY", "set" if os.environ.get("ANTHROPIC_API_KEY") else "not set"),
        ("waiting records", str(len(jobs.waiting(home)))),
        ("waiting answers", f"{paid}: {commands.log(home)}" if paid else "0"),
    ):
        table.add_row(name, text)
    show(table)
    return 0 if usable and leasable else 1


def _gpu_states(gpu: Gpu | None) -> tuple[str, str, bool]:
    """Whether its clocks can be read, whether it can be leased, and whether a study can go on."""
    if gpu is None:
        return "-", "-", True
    from tritonexp.evaluation import clocks, lease

    clock_state = clocks.describe(gpu.uuid)
    try:
        return clock_state, lease.describe(gpu.uuid), True
    except TritonExpError as error:
        return clock_state, f"not usable: {error}", False


def _home(options: argparse.Namespace) -> Path:
    return options.folder or Path(commands.FOLDER)


def _tracking(options: argparse.Namespace) -> TrackingConfig:
    from tritonexp.config import TrackingConfig

    return TrackingConfig(
        folder=str(_home(options)),
        experiment=options.experiment or commands.EXPERIMENT,
        uri=options.uri,
    )


def _versioned(expert: Implementation) -> str:
    source = expert.provenance
    return f"{expert.name} ({source.name} {source.version or 'not installed'}, {source.licence})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tritonexp",
        description="What is done without running a study; run.py runs one.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        text = (run.__doc__ or "").splitlines()[0]
        added = commands.add_parser(run.__name__, help=text, description=text)
        added.set_defaults(run=run)
        return added

    again = command(report)
    again.add_argument("record", nargs="?", type=Path, help="a record.json, or its folder")
    again.add_argument("--sweep", metavar="ID", help="the id that the sweep printed")
    again.add_argument("-o", "--output", type=Path, help="the folder to write to")
    _add_store(again)

    later = command(log)
    later.add_argument("folders", nargs="*", type=Path, help="job folders; all that wait if none")
    _add_store(later, otherwise="each record's own")

    command(operations)

    shown = command(prompt)
    _add_prompt(shown)
    shown.add_argument("-o", "--output", type=Path, help="a file to write instead of the terminal")

    kept = command(record)
    _add_prompt(kept)
    kept.add_argument(
        "response", type=Path, help="the response, word for word, or an answer's folder (see log)"
    )
    kept.add_argument("--sample", type=int, required=True, help="its number, from 1")
    kept.add_argument("--date", help="when it was given, as in 2026-11-23; a folder tells")
    kept.add_argument("--model", help="what is known of the model; a folder tells")

    judged = command(redteam)
    judged.add_argument("folder", nargs="?", type=Path, help="default: the project's own")
    judged.add_argument("--only", metavar="GLOB", help="fixtures such as 'attack/*' or sleeps")
    judged.add_argument(
        "--sandbox",
        choices=("on", "off"),
        default="on",
        help="off lets every cheat do what you may do yourself: for a machine to throw away",
    )
    judged.add_argument("--jobs", type=int, default=1, help="judge as many at once; default: 1")
    judged.add_argument("--json", metavar="FILE", type=Path, help="write every verdict there")
    judged.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables there")
    judged.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="take over what an earlier --json FILE holds, and judge the rest",
    )

    itself = command(calibrate)
    itself.add_argument("--operation", default="softmax", help="default: softmax")
    itself.add_argument("--sizes", default="study", help="a file of conf/sizes/; default: study")
    itself.add_argument("--timing", default="device", help="a file of conf/timing/")
    itself.add_argument("--pairs", type=int, default=60, help="at least, at each size")
    itself.add_argument("--sandbox", choices=("on", "off"), default="on")
    itself.add_argument("--json", metavar="FILE", type=Path, help="write what was found there")

    command(facts)
    _add_store(command(doctor))
    return parser


def _add_prompt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("operation", help="a folder under kernels/")
    parser.add_argument("prompt", help="a file of conf/prompt/")
    parser.add_argument(
        "--facts",
        type=Path,
        help="what `facts` printed on the machine that the prompt tells of; this one if not given",
    )


def _add_store(parser: argparse.ArgumentParser, otherwise: str | None = None) -> None:
    """Add the store's options; what is not given is the default, or that of a record."""
    parser.add_argument("--folder", type=Path, help=f"default: {commands.FOLDER}")
    default = otherwise or commands.EXPERIMENT
    parser.add_argument("--experiment", help=f"default: {default}")
    own = f", '' for that; default: {otherwise}" if otherwise else ""
    parser.add_argument("--uri", help=f"a tracking server instead of the folder's own store{own}")


def _machine_facts() -> MachineFacts:
    from tritonexp.evaluation import ceilings, environment, lease

    gpu = environment.find_gpu()
    if gpu is None:
        return environment.facts_of(None, None)
    with lease.leased(gpu.uuid, progress=lambda text: print(text, file=sys.stderr)):
        return environment.facts_of(gpu, ceilings.ceilings_of(gpu, ()).copy_gb_s)
