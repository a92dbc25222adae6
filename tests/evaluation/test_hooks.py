"""What is taken away from a file that hooked into its process; each in a process of its own."""

import subprocess
import sys

import pytest

START = """
import gc, os, signal, sys, time
from tritonexp.evaluation.hooks import Hooks
hooks = Hooks()
ran = []
"""


def found_by(program):
    """What a program prints after it, in a process that no other test shares."""
    ended = subprocess.run(
        [sys.executable, "-c", START + program],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("hooked", "name"),
    [
        ("sys.setprofile(lambda *_: ran.append(1))", "sys.setprofile"),
        ("sys.settrace(lambda *_: ran.append(1))", "sys.settrace"),
        ("sys.addaudithook(lambda *_: ran.append(1))", "sys.addaudithook"),
        ("signal.signal(signal.SIGCONT, lambda *_: ran.append(1))", "signal.signal"),
        ("gc.callbacks.append(lambda *_: ran.append(1))", "gc.callbacks"),
        (
            """
signal.signal(signal.SIGALRM, lambda *_: ran.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.3)
""",
            "signal.setitimer",
        ),
    ],
)
def test_what_is_hooked_in_runs_no_more_and_is_told(hooked, name):
    """Whatever calls the hooks happens after it, and none of them is called."""
    program = f"""
{hooked}
hooks.disarm()
ran.clear()
os.kill(os.getpid(), signal.SIGCONT)
made = [[] for _ in range(100_000)]
gc.collect() if {name != "gc.callbacks"} else [gc.enable(), gc.collect()]
time.sleep(0.5 if "ITIMER" in {hooked!r} else 0)
sum(range(10))
print(*hooks.found, len(ran))
"""
    *names, calls = found_by(program)
    assert name in names
    assert calls == "0"


@pytest.mark.parametrize(
    ("hooked", "name"),
    [
        ("torch.utils._python_dispatch.TorchDispatchMode().__enter__()", "dispatch"),
        (
            "library = torch.library.Library('aten', 'IMPL'); library.impl('copy_', print, 'CUDA')",
            "aten/copy_/CUDA",
        ),
        (
            "torch.cuda._gpu_trace.register_callback_for_event_record(print)",
            "torch.cuda._gpu_trace.EventRecordCallbacks",
        ),
    ],
)
def test_what_torch_would_call_is_told(hooked, name):
    """By which a file would see when its results are looked at."""
    found = found_by(
        f"import torch, torch.utils._python_dispatch\n{hooked}\nhooks.disarm()\nprint(*hooks.found)"
    )
    assert name in found


def test_imports_of_torch_are_nobodys_hooks():
    """It implements operators in Python itself, some of them when they are asked for."""
    assert (
        found_by(
            "import torch, torch._dynamo, torch._inductor, torch.profiler\n"
            "torch.ones(2).copy_(torch.zeros(2)).fill_(1)\nhooks.disarm()\nprint(*hooks.found)"
        )
        == []
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has no sys.monitoring")
def test_monitoring_is_taken_away_and_told():
    """Its callbacks would see each call of ours."""
    program = """
sys.monitoring.use_tool_id(3, "mine")
sys.monitoring.register_callback(3, sys.monitoring.events.CALL, lambda *_: ran.append(1))
sys.monitoring.set_events(3, sys.monitoring.events.CALL)
hooks.disarm()
ran.clear()
sum(range(3))
print(*hooks.found, len(ran), sys.monitoring.get_tool(3))
"""
    *names, calls, tool = found_by(program)
    assert {"sys.monitoring", "sys.monitoring.register_callback"} <= set(names)
    assert (calls, tool) == ("0", "None")


def test_what_was_there_before_stays():
    """Handlers of others, and callbacks that a library had before any implementation."""
    start = "signal.signal(signal.SIGUSR1, ran.append)\ngc.callbacks.append(print)\n"
    program = START.replace("hooks = Hooks()\nran = []", "ran = []") + (
        f"{start}hooks = Hooks()\nhooks.disarm()\n"
        "print(*hooks.found, signal.getsignal(signal.SIGUSR1) == ran.append, len(gc.callbacks))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.split() == ["True", "1"]


def test_a_hook_that_was_taken_away_in_time_is_told():
    """Who takes it away before anybody looks had it nevertheless."""
    program = "sys.setprofile(lambda *_: None)\nsys.setprofile(None)\nhooks.disarm()\n"
    assert found_by(program + "print(*hooks.found)") == ["sys.setprofile"]


def test_garbage_waits_until_an_implementation_is_called():
    """A file's finalisers would run where nobody called it."""
    program = "hooks.disarm()\nprint(gc.isenabled())\nhooks.allow()\nprint(gc.isenabled())"
    assert found_by(program) == ["False", "True"]
