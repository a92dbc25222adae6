"""Nsight Compute: what it writes is read, and what it cannot do is a reason; needs no GPU.

A script stands for ncu. What the real one does is for whoever has a GPU and the right to read its
counters: `python run.py profile=ncu`.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import pytest
import torch
from candidates import RIGHT, candidate

from tritonexp import operations
from tritonexp.errors import ConfigError
from tritonexp.evaluation import ncu, profiling
from tritonexp.evaluation.ncu import child, output, parent
from tritonexp.evaluation.ncu.messages import ProfileRequest, ScalarGiven, TensorGiven
from tritonexp.operations import ScalarArgument, TensorArgument
from tritonexp.records import Status, from_json

COLUMNS = (
    '"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size",'
    '"Grid Size","Device","CC","Section Name","Metric Name","Metric Unit","Metric Value"'
)
PROLOGUE = """\
==PROF== Connected to process 2583 (/usr/bin/python3.12)
==PROF== Profiling "softmax_kernel" - 0: 0%....50%....100% - 1 pass
==PROF== Disconnected from process 2583
"""


def row(number, metric, unit, value, kernel="softmax_kernel"):
    """One line of the table, as ncu quotes it."""
    return (
        f'"{number}","2583","python3.12","127.0.0.1","{kernel}","1","7","(256, 1, 1)",'
        f'"(1024, 1, 1)","0","9.0","Command line profiler metrics","{metric}","{unit}","{value}"'
    )


def table(*rows):
    """What ncu writes around some lines."""
    return "\n".join([PROLOGUE.rstrip(), COLUMNS, *rows]) + "\n"


def kernel_rows(number, read="4,194,816", written="2,048", time_us="5,376", time_unit="nsecond"):
    """The three metrics of one kernel."""
    return (
        row(number, output.READ, "byte", read),
        row(number, output.WRITTEN, "byte", written),
        row(number, output.DURATION, time_unit, time_us),
    )


# the kernel of ours that is measured before the call
PRELUDE = kernel_rows(0, read="32", written="0", time_us="1,000")


def test_table_is_added_up_over_kernels():
    """Thousands are grouped, a name may hold quotes and commas, and every kernel counts."""
    name = 'void at::native::reduce_kernel<512, 1>(T1, ""x"")'
    text = table(
        *kernel_rows(0),
        row(1, output.READ, "byte", "1,000", name),
        row(1, output.WRITTEN, "byte", "0", name),
        row(1, output.DURATION, "nsecond", "624", name),
    )
    assert output.totals_of(text) == output.Totals(
        kernels=2, read_bytes=4_195_816, written_bytes=2_048, kernel_us=pytest.approx(6.0)
    )


def test_prelude_is_not_part_of_the_call():
    """The kernel of ours goes first and is left out; a call without any other has no figures."""
    found = output.totals_of(table(*PRELUDE, *kernel_rows(1), *kernel_rows(2)), 1)
    assert (found.kernels, found.read_bytes, found.written_bytes) == (2, 8_389_632, 4_096)
    with pytest.raises(output.NcuError, match="no kernel of the call"):
        output.totals_of(table(*PRELUDE), 1)


@pytest.mark.parametrize(
    ("unit", "value", "kernel_us"),
    [("nsecond", "5,376", 5.376), ("ns", "5376", 5.376), ("usecond", "5.38", 5.38), ("us", "7", 7)],
)
def test_units_of_older_and_newer_versions_are_known(unit, value, kernel_us):
    """Versions of ncu differ in what they call a nanosecond."""
    found = output.totals_of(table(*kernel_rows(0, time_us=value, time_unit=unit)))
    assert found.kernel_us == pytest.approx(kernel_us)


def test_other_metrics_and_more_columns_do_no_harm():
    """Newer versions have columns for rules, and a set may hold more than was asked for."""
    rows = [*kernel_rows(0), row(0, "sm__cycles_elapsed.avg", "cycle", "9,000")]
    text = "\n".join([COLUMNS + ',"Rule Name"', *(f'{line},""' for line in rows)])
    assert output.totals_of(text).written_bytes == 2_048


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no table"),
        (PROLOGUE, "no table"),
        (table(), "no kernel"),
        (table(row(0, "sm__cycles_elapsed.avg", "cycle", "9")), "no kernel"),
        (table(*kernel_rows(0)[:2]), f"no {output.DURATION}"),
        (table(*kernel_rows(0), *kernel_rows(1)[1:]), f"no {output.READ}"),
        (table(*kernel_rows(0, read="n/a")), "'n/a'"),
        (table(*kernel_rows(0, read="nan")), "'nan'"),
        (table(*kernel_rows(0, read="-1")), "'-1'"),
        (table(*kernel_rows(0, time_unit="fortnight")), "'fortnight'"),
        (table(row(0, output.READ, "byte", "1").rpartition(",")[0]), "no amount"),
        ("==WARNING== No kernels were profiled.\n", "no kernel"),
        ("==ERROR== The application returned an error code (1).\n", "error code (1)"),
    ],
)
def test_what_is_no_table_is_a_reason(text, told):
    """Nothing is taken for a figure that is none, and nothing missing for zero."""
    with pytest.raises(output.NcuError) as caught:
        output.totals_of(text)
    assert told in str(caught.value)
    assert not isinstance(caught.value, output.NcuUnusableError)


def test_counters_that_may_not_be_read_are_told_apart():
    """Without the permission no other call need be tried."""
    text = (
        "==PROF== Connected to process 7\n"
        "==ERROR== ERR_NVGPUCTRPERM - The user does not have permission to access NVIDIA GPU"
        " Performance Counters on the target device 0.\n"
    )
    with pytest.raises(output.NcuUnusableError, match="ERR_NVGPUCTRPERM"):
        output.totals_of(text)


@pytest.fixture
def stand_in(tmp_path):
    """Makes a program of some lines of Python that is called like ncu."""

    def made(text):
        path = tmp_path / "bin" / "ncu"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{sys.executable}\nimport sys, time\n{text}")
        path.chmod(0o755)
        return str(path)

    return made


@pytest.fixture
def measured(stand_in):
    """Measures the right softmax at two sizes with a stand-in."""

    def measure(text, timeout_s=30.0, hidden=()):
        spec = operations.load("softmax").spec
        return parent.measure(
            stand_in(text),
            candidate(RIGHT),
            spec,
            [spec.size((7, 1000)), spec.size((1, 1))],
            "float32",
            timeout_s=timeout_s,
            hidden=hidden,
        )

    return measure


def writing(text):
    """A stand-in that writes a log and ends."""
    return f"open(sys.argv[sys.argv.index('--log-file') + 1], 'w').write({text!r})\n"


def test_call_is_measured_at_each_size(measured):
    """Each size has its own run of ncu and its own figures."""
    first, second = measured(writing(table(*PRELUDE, *kernel_rows(1))))
    assert (first.size.label, second.size.label) == ("7x1000", "1x1")
    assert (first.dtype, first.kernels, first.reason) == ("float32", 1, "")
    assert (first.read_bytes, first.written_bytes) == (4_194_816, 2_048)
    assert first.kernel_us == pytest.approx(5.376)


def test_command_line_and_request_are_those_that_ncu_needs(measured, tmp_path):
    """One table of base units from between start and stop; the request describes the call."""
    copy = tmp_path / "told.json"
    text = (
        "import json, os\n"
        f"open({str(copy)!r}, 'w').write(json.dumps([sys.argv[1:], open(sys.argv[-1]).read(),"
        " dict(os.environ), os.getcwd()]))\n" + writing(table(*kernel_rows(0)))
    )
    measured(text, hidden=("liger_kernel",))
    arguments, told, environment, folder = json.loads(copy.read_text())
    assert arguments[arguments.index("--metrics") + 1] == ",".join(output.METRICS)
    assert arguments[arguments.index("--print-units") + 1] == "base"
    assert arguments[arguments.index("--profile-from-start") + 1] == "off"
    assert arguments[arguments.index("--clock-control") + 1] == "none"
    assert arguments[-5:-1] == [sys.executable, "-P", "-m", "tritonexp.evaluation.ncu.child"]
    request = from_json(ProfileRequest, told)
    assert request.arguments == (TensorGiven(shape=(1, 1), dtype="float32", path=None),)
    assert (request.entry_point, request.torch_compile) == ("softmax", False)
    assert request.hidden == ("liger_kernel",)
    # the log is out of reach of what runs in the folder
    assert Path(request.source_path).parent == Path(folder)
    assert Path(arguments[arguments.index("--log-file") + 1]).parent == Path(folder).parent
    assert environment["LC_ALL"] == "C"
    assert not {"ANTHROPIC_API_KEY", "TRITON_INTERPRET"} & set(environment)
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("print('a last word')\nsys.exit(3)\n", "status 3 and wrote nothing (last printed: a last"),
        ("print('==ERROR== Failed to find the library')\n", "ncu: Failed to find the library"),
        (
            writing("==ERROR== The application returned an error code (1).\n")
            + "print('ImportError: absent')\n",
            "last printed: ImportError: absent",
        ),
    ],
)
def test_run_that_fails_has_a_reason(measured, text, told):
    """What ncu said, and what the file printed last, stand in the record."""
    for found in measured(text):
        assert told in found.reason
        assert (found.kernels, found.read_bytes, found.written_bytes) == (None, None, None)
        assert found.kernel_us is None


def test_run_without_an_end_is_ended(measured):
    """With everything that it started."""
    begin = time.monotonic()
    found = measured("import os\nos.fork()\ntime.sleep(300)\n", timeout_s=0.5)
    assert time.monotonic() - begin < 20
    assert all("longer than 0.5 s" in item.reason for item in found)


def test_permission_ends_it_all(measured):
    """The second size is not tried."""
    with pytest.raises(ncu.NcuUnusableError, match="ERR_NVGPUCTRPERM"):
        measured(writing("==ERROR== ERR_NVGPUCTRPERM - The user does not have permission\n"))


def test_program_is_found_by_its_name_or_by_ncu(stand_in):
    """NCU names another than the one on the PATH; without either it is said what is missing."""
    path = stand_in("")
    assert ncu.find({"PATH": str(Path(path).parent)}) == path
    assert ncu.find({"PATH": "/nowhere", "NCU": path}) == path
    with pytest.raises(ncu.NcuUnusableError, match="not on the PATH"):
        ncu.find({"PATH": "/nowhere"})
    with pytest.raises(ncu.NcuUnusableError, match="NCU names '/nowhere/ncu'"):
        ncu.find({"PATH": str(Path(path).parent), "NCU": "/nowhere/ncu"})


def test_arguments_that_fill_themselves_go_through_a_file(tmp_path):
    """Labels must be labels, or the kernel would read out of bounds; the rest is drawn there."""
    spec = dataclasses.replace(
        operations.load("softmax").spec,
        arguments=(
            TensorArgument(name="x", shape=("rows", "cols")),
            TensorArgument(
                name="labels",
                shape=("rows",),
                fill=lambda size, dtype, generator, device: torch.arange(size.extents[0]),
            ),
            ScalarArgument(name="eps", value=0.5),
        ),
    )
    x, labels, eps = parent.given(spec, spec.size((7, 1000)), "float16", tmp_path)
    assert x == TensorGiven(shape=(7, 1000), dtype="float16", path=None)
    assert (labels.shape, labels.dtype) == ((7,), "int64")
    assert eps == ScalarGiven(value=0.5)
    made = [child.argument_of(given, "cpu") for given in (x, labels, eps)]
    assert (made[0].shape, made[0].dtype) == ((7, 1000), torch.float16)
    assert made[0].std() > 0
    assert made[1].tolist() == list(range(7))
    assert made[2] == 0.5


class Trials:
    """Trials as a referee hands them over."""

    def __init__(self, status=Status.CORRECT):
        from builders import trial

        self.candidate = trial("candidate", status=status)
        self.all = [self.candidate, trial("baseline"), trial("liger"), trial("torch", timed=False)]


def profiler(tool="ncu", *, has_gpu=True, said=None):
    """A profiler for softmax."""
    return profiling.Profiler(
        tool,
        operations.load("softmax"),
        [operations.load("softmax").spec.size((7, 1000))],
        has_gpu=has_gpu,
        hidden=("liger_kernel",),
        progress=(said if said is not None else []).append,
    )


@pytest.fixture
def seen(monkeypatch):
    """Which implementation was measured with which modules hidden; the figures are a stand-in's."""
    found = []

    def measure(program, implementation, spec, sizes, dtype, *, timeout_s, hidden):
        found.append((implementation.name, hidden))
        return (parent._unmeasured(sizes[0], dtype, "stand-in"),)

    monkeypatch.setattr(ncu, "find", lambda: "/usr/bin/ncu")
    monkeypatch.setattr(ncu, "measure", measure)
    return found


def test_nothing_is_profiled_unless_it_is_asked_for(seen):
    """Without profile= the trials stay as they are, and the record holds no profile."""
    trials = Trials().all
    assert profiler(None).add_to(trials) == (trials, None)
    assert seen == []


def test_timed_trials_are_measured_and_references_only_once(seen):
    """A candidate cannot read the expert; a reference can; what was not timed is left alone."""
    made = profiler()
    trials, profile = made.add_to(Trials().all)
    assert (profile.tool, profile.reason) == ("ncu", "")
    assert [len(item.dram) for item in trials] == [1, 1, 1, 0]
    assert seen == [("candidate", ("liger_kernel",)), ("baseline", ()), ("liger", ())]
    made.add_to(Trials().all)
    assert [name for name, _ in seen[3:]] == ["candidate"]


@pytest.mark.parametrize(
    ("has_gpu", "status", "told"),
    [
        (False, Status.CORRECT, "no GPU"),
        (True, Status.INCORRECT, "ended as INCORRECT"),
    ],
)
def test_reason_is_kept_where_nothing_can_be_measured(seen, has_gpu, status, told):
    """The run goes on, and the record says why."""
    trials, profile = profiler(has_gpu=has_gpu).add_to(Trials(status).all)
    assert told in profile.reason
    assert all(item.dram == () for item in trials)
    assert seen == []


def test_absent_ncu_is_a_reason(monkeypatch):
    """A machine without it is no error."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("NCU", raising=False)
    trials, profile = profiler().add_to(Trials().all)
    assert "not on the PATH" in profile.reason
    assert all(item.dram == () for item in trials)


def test_unknown_profiler_is_refused():
    """What is allowed is said."""
    with pytest.raises(ConfigError, match="'nsys'; there are ncu and none"):
        profiler("nsys")
