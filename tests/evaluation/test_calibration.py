"""One kernel against itself: what is made of the pairs, and where it is kept."""

import dataclasses

import builders as build
import pytest

from tritonexp import cli, operations
from tritonexp.config import compose
from tritonexp.errors import ConfigError, EvaluationError
from tritonexp.evaluation import calibration
from tritonexp.evaluation.calibration import Pair
from tritonexp.evaluation.environment import find_gpu
from tritonexp.evaluation.lanes import Lane
from tritonexp.evaluation.process import WorkerFailedError
from tritonexp.records import Calibration, Clock, Interval, Outcome, Status, to_json
from tritonexp.study import referee_arguments

SIZE = build.SIZES[0]
GPU = build.environment(gpu=True).gpu


def lane(*rounds_us, failure=None):
    """A lane that took these rounds."""
    return Lane(worker=None, clock=Clock.GRAPH, rounds_us=list(rounds_us), failure=failure)


def pair(ratio, low, high, outcome=Outcome.TIE):
    """A pair with this interval."""
    return Pair(ratio, Interval(low=low, high=high), outcome)


def found(**changes):
    """A calibration."""
    values = {
        "date": "2026-11-23T10:00:00+00:00",
        "gpu_name": GPU.name,
        "operation": "softmax",
        "source_sha256": "0" * 64,
        "dtype": "float32",
        "protocol": build.PROTOCOL,
        "sizes": (calibration.summed_up(SIZE, [pair(1.0, 0.99, 1.002)] * 3),),
    }
    return Calibration(**values | changes)


def test_each_two_lanes_are_a_pair():
    """The first is compared with the second, the third with the fourth."""
    steady, slow = [10.0, 10.0, 10.0], [10.5, 10.5, 10.5]
    one, other = calibration.pairs_of(
        [lane(*steady), lane(*steady), lane(*slow), lane(*steady)], 0.01, 0
    )
    assert (one.ratio, one.outcome) == (1.0, Outcome.TIE)
    assert other.ratio == pytest.approx(10 / 10.5)
    assert other.outcome is Outcome.SLOWER


def test_copy_that_was_accused_is_a_false_verdict():
    """It has no figures, and the pair counts all the same."""
    failure = WorkerFailedError(Status.CLOCK_MISMATCH, "two clocks disagree")
    steady = [10.0, 10.0, 10.0]
    accused, fine = calibration.pairs_of(
        [lane(*steady), lane(failure=failure), lane(*steady), lane(*steady)], 0.01, 0
    )
    assert (accused.ratio, accused.outcome) == (None, Outcome.FAILED)
    summed = calibration.summed_up(SIZE, [accused, fine])
    assert (summed.pairs, summed.false_verdicts) == (2, 1)
    assert summed.ratios.low == summed.ratios.high == 1.0
    with pytest.raises(EvaluationError, match=r"no two copies .* at 1024x1024"):
        calibration.summed_up(SIZE, [accused])


def test_kernel_of_which_every_copy_fails_says_nothing_of_the_machine():
    """Its fault is told, and is no figure."""
    failure = WorkerFailedError(Status.CRASHED, "it ended")
    with pytest.raises(EvaluationError, match=r"CRASHED|crashed.*it ended"):
        calibration.pairs_of([lane(failure=failure), lane(failure=failure)], 0.01, 0)


def test_pairs_of_a_size_are_summed_up():
    """What is not a tie is false, and the furthest end of an interval is its reach."""
    summed = calibration.summed_up(
        SIZE,
        [
            pair(1.0, 0.998, 1.001),
            pair(1.02, 1.015, 1.025, Outcome.FASTER),
            pair(0.999, 0.997, 1.0),
        ],
    )
    assert (summed.pairs, summed.false_verdicts) == (3, 1)
    assert summed.largest_reach == pytest.approx(0.025)
    assert 0.003 < summed.usual_reach < 0.025
    assert 0.999 <= summed.ratios.low < summed.ratios.high <= 1.02


def test_calibration_is_known_again_for_what_it_holds_for(tmp_path, monkeypatch):
    """Another GPU, another driver, another protocol or a file of another version: none is known."""
    monkeypatch.setenv("TRITONEXP_CACHE", str(tmp_path))
    assert calibration.known(GPU, build.PROTOCOL) is None
    path = calibration.path_of(GPU, build.PROTOCOL)
    path.write_text(to_json(found()))
    assert calibration.known(GPU, build.PROTOCOL) == found()
    others = [
        (dataclasses.replace(GPU, uuid="other"), build.PROTOCOL),
        (dataclasses.replace(GPU, driver="1.0"), build.PROTOCOL),
        (GPU, dataclasses.replace(build.PROTOCOL, rounds=40)),
    ]
    assert [calibration.known(*other) for other in others] == [None] * 3
    path.write_text('{"sizes": []}')
    assert calibration.known(GPU, build.PROTOCOL) is None


def test_no_pairs_and_no_gpu_are_refused(capsys, monkeypatch):
    """Before anything is measured, and by the command too."""
    monkeypatch.setattr(calibration.environment, "find_gpu", lambda: None)
    assert cli.main(["calibrate"]) == 1
    assert "need a GPU" in capsys.readouterr().err
    monkeypatch.setattr(calibration.environment, "find_gpu", lambda: GPU)
    with pytest.raises(ConfigError, match="0 pairs"):
        calibration.calibrate(operations.load("softmax"), (SIZE,), build.PROTOCOL, pairs=0)


@pytest.mark.gpu
@pytest.mark.skipif(find_gpu() is None, reason="needs a CUDA GPU")
def test_kernel_ties_with_itself(tmp_path, monkeypatch):
    """A few pairs at the study's ladder, by its own protocol; the machine is then calibrated."""
    monkeypatch.setenv("TRITONEXP_CACHE", str(tmp_path))
    config = compose(["operation=softmax", "sizes=study"])
    operation = operations.load("softmax")
    arguments = referee_arguments(config, operation)
    made = calibration.calibrate(operation, arguments["sizes"], arguments["protocol"], pairs=3)
    assert [item.pairs for item in made.sizes] == [3] * 4
    assert sum(item.false_verdicts for item in made.sizes) <= 1
    assert calibration.known(find_gpu(), arguments["protocol"]) == made
