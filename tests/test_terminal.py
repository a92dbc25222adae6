"""What a run shows: progress on stderr, results on stdout."""

import builders as build
import pytest
from rich.table import Table

from tests.strategies.scripted import ScriptedProvider, answer
from tritonexp import answers, jobs
from tritonexp.config import TrackingConfig
from tritonexp.terminal import Terminal, show, tell_interrupted


def test_progress_and_results_are_kept_apart(capsys):
    """Results can be piped: only they are on stdout."""
    with Terminal() as terminal:
        terminal.progress("working")
        terminal.note("a note")
    show("a result")
    shown = capsys.readouterr()
    assert shown.out == "a result\n"
    assert shown.err == "working\na note\n"


def test_a_log_has_a_line_for_each_stage(capsys):
    """Without a terminal, the steps of a stage do not fill the log."""
    with Terminal() as terminal:
        for text in ("verifying, case 1 of 2", "verifying, case 2 of 2", "timing, round 1"):
            terminal.progress(text)
    assert capsys.readouterr().err == "verifying, case 1 of 2\ntiming, round 1\n"


def test_brackets_of_a_sentence_are_no_markup(capsys):
    """A path or a message such as [red] is printed as it is, and a long one is not broken."""
    text = "mlruns/[red]/" + "x" * 300
    show(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_markup_in_a_table_is_rendered(capsys):
    """A table's cells may be coloured; the tags are not shown."""
    table = Table("a column")
    table.add_row("[red]slower[/red]")
    show(table)
    out = capsys.readouterr().out
    assert "slower" in out
    assert "[red]" not in out


@pytest.fixture
def tracking(tmp_path):
    """Configure a store that is not the default."""
    return TrackingConfig(folder=str(tmp_path), experiment="mine", uri="http://127.0.0.1:5999")


def test_an_interrupt_that_left_nothing_says_so(capsys, tracking):
    """No command is named that would find nothing."""
    tell_interrupted(tracking, None)
    said = capsys.readouterr().err
    assert said.startswith("interrupted\nnothing waits")
    assert "python" not in said
    tell_interrupted(None, None)
    assert capsys.readouterr().err == "interrupted\n"


def test_an_interrupt_says_what_it_left_and_how_to_go_on(capsys, tracking, tmp_path):
    """Records and answers are counted, and the commands have the options that they need."""
    jobs.keep(build.record(build.interpreter_evaluation()), tmp_path)
    provider = ScriptedProvider([answer("a"), answer("b")])
    keeping = answers.Keeping(provider, tmp_path, "softmax", None, print)
    for _ in "ab":
        keeping.complete(build.PROMPT)
    tell_interrupted(tracking, "the-sweep")
    assert capsys.readouterr().err.splitlines() == [
        "interrupted",
        f"records that are not logged in {tmp_path / 'pending'}: 1",
        f"answers that were paid for in {tmp_path / 'answers'}: 2",
        f"to log and to list them: python -m tritonexp log --folder {tmp_path}",
        "sweep the-sweep; to compare its jobs that are done:",
        (
            f"  python -m tritonexp report --sweep the-sweep --folder {tmp_path}"
            " --experiment mine --uri http://127.0.0.1:5999"
        ),
    ]


def test_the_default_store_needs_no_options(capsys, tmp_path, monkeypatch):
    """A command is as short as it can be."""
    monkeypatch.chdir(tmp_path)
    tell_interrupted(TrackingConfig(folder="mlruns", experiment="tritonexp"), "the-sweep")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "  python -m tritonexp report --sweep the-sweep"
