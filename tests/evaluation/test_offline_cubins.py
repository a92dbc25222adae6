import subprocess
from types import SimpleNamespace

import pytest

from tritonexp.evaluation.offline import cubins


def refuse(command, **_):
    """Fail as cuobjdump does on a file that it cannot read."""
    raise subprocess.CalledProcessError(1, command)


def test_largest_function_counts(monkeypatch):
    """A cubin's figures are those of the function that needs most; stack and local memory spill."""
    told = "REG:24 STACK:0 SHARED:0 LOCAL:0 C:1\nREG:255 STACK:16 SHARED:64 LOCAL:8 C:1\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=told))
    assert cubins.resource_usage(b"") == cubins.Usage(registers=255, spill_bytes=24)


@pytest.mark.parametrize("run", [refuse, lambda *_, **__: SimpleNamespace(stdout="nothing")])
def test_silent_cuobjdump_is_logged_and_leaves_the_figures_unknown(run, monkeypatch, caplog):
    """Where the tool fails, or says something else, no figure is invented."""
    monkeypatch.setattr(subprocess, "run", run)
    assert cubins.resource_usage(b"") is None
    assert "registers are unknown" in caplog.text
