"""What a run shows: progress on stderr, results on stdout."""

from rich.table import Table

from tritonexp.terminal import Terminal, show


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
