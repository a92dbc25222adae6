"""What is read of a GPU's clocks, and which rounds are measured again for it.

NVML is a stand-in with pynvml's own constants, errors and field values; the test marked gpu reads
the real one.
"""

import ctypes
import sys
import types

import pynvml
import pytest

from tritonexp import cli
from tritonexp.evaluation import clocks, environment
from tritonexp.evaluation.clocks import ClockReader
from tritonexp.records import ClockLog, ClockSample, Gpu, Size, from_json, to_json

UUID = "0f3c5d1e-0000-4000-8000-00000000abcd"
SIZE = Size(axes=("rows", "cols"), extents=(1024, 1024))
BOOST_MHZ = 1980
HW_THERMAL_TIME = pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN


class Driver:
    """A GPU's driver: what it answers, the calls that were made, and what it cannot do."""

    def __init__(self):
        self.sm_mhz = BOOST_MHZ
        self.memory_mhz = 3201
        self.bits = 0
        self.fields = {
            pynvml.NVML_FI_DEV_POWER_INSTANT: 312_500,
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP: 10**15,
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN: 0,
            HW_THERMAL_TIME: 77,
            pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN: 0,
        }
        self.calls = []
        # a function's name -> the error that it raises
        self.errors = {}
        self.opened = 0
        self.module = types.SimpleNamespace(
            **{name: value for name, value in vars(pynvml).items() if not name.startswith("nvml")}
        )
        for name in (
            "nvmlInit",
            "nvmlShutdown",
            "nvmlDeviceGetHandleByUUID",
            "nvmlDeviceGetClockInfo",
            "nvmlDeviceGetTemperature",
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            "nvmlDeviceGetFieldValues",
        ):
            setattr(self.module, name, self._called(name))

    def _called(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name in self.errors:
                raise pynvml.NVMLError(self.errors[name])
            return getattr(self, name)(*arguments)

        return call

    def nvmlInit(self):  # noqa: N802 - NVML's name
        """Count like NVML."""
        self.opened += 1

    def nvmlShutdown(self):  # noqa: N802 - NVML's name
        """Count like NVML."""
        self.opened -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802 - NVML's name
        """Know one GPU."""
        if uuid != f"GPU-{UUID}":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "the GPU"

    def nvmlDeviceGetClockInfo(self, device, kind):  # noqa: N802 - NVML's name
        """Tell a clock."""
        assert device == "the GPU"
        return {pynvml.NVML_CLOCK_SM: self.sm_mhz, pynvml.NVML_CLOCK_MEM: self.memory_mhz}[kind]

    def nvmlDeviceGetTemperature(self, device, sensor):  # noqa: N802 - NVML's name
        """Tell the temperature."""
        assert (device, sensor) == ("the GPU", pynvml.NVML_TEMPERATURE_GPU)
        return 41

    def nvmlDeviceGetCurrentClocksEventReasons(self, device):  # noqa: N802 - NVML's name
        """Tell the reasons of now."""
        assert device == "the GPU"
        return self.bits

    nvmlDeviceGetCurrentClocksThrottleReasons = (  # noqa: N815 - NVML's name
        nvmlDeviceGetCurrentClocksEventReasons
    )

    def nvmlDeviceGetFieldValues(self, device, wanted):  # noqa: N802 - NVML's name
        """Tell fields, in NVML's own structure."""
        assert device == "the GPU"
        values = (pynvml.c_nvmlFieldValue_t * len(wanted))()
        for value, number in zip(values, wanted, strict=True):
            value.fieldId = number
            if number not in self.fields:
                value.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
                # what is left there is no figure
                value.value.ullVal = 10**9
            elif number == pynvml.NVML_FI_DEV_POWER_INSTANT:
                # as in C, the rest of the union holds anything
                value.value.ullVal = 2**64 - 1
                value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
                value.value.uiVal = self.fields[number]
            else:
                value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
                value.value.ullVal = self.fields[number]
        return values


@pytest.fixture
def driver(monkeypatch):
    """A GPU's driver in the place of NVML."""
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver.module)
    return driver


def sample(sm_mhz=BOOST_MHZ, *reasons):
    """A round's sample."""
    return ClockSample(
        sm_mhz=sm_mhz, memory_mhz=3201, temperature_c=41, power_w=300.0, reasons=reasons
    )


def test_the_stand_in_has_the_layout_of_nvml():
    """The field values of the tests are those that a driver fills in."""
    assert ctypes.sizeof(pynvml.c_nvmlFieldValue_t) == 40


def test_a_reading_has_every_figure_in_its_unit(driver):
    """Clocks in MHz, the temperature in C, the power in W, no reason where there is none."""
    with ClockReader(UUID) as reader:
        assert reader.read() == ClockSample(
            sm_mhz=1980, memory_mhz=3201, temperature_c=41, power_w=312.5, reasons=()
        )
        assert reader.reason == ""


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}"])
def test_the_gpu_is_found_by_its_uuid(driver, uuid):
    """As CUDA writes it or as NVML does; an index would be another GPU's elsewhere."""
    with ClockReader(uuid) as reader:
        assert reader.read() is not None


def test_a_reading_is_few_calls(driver):
    """NVML is opened once, and a reading asks five times."""
    with ClockReader(UUID) as reader:
        driver.calls.clear()
        reader.read()
        assert len(driver.calls) == 5
        assert "nvmlInit" not in driver.calls


def test_nvml_is_closed_as_often_as_it_is_opened(driver):
    """Whether the GPU is found or not, and however often a reader is closed."""
    with ClockReader(UUID) as reader:
        assert driver.opened == 1
    reader.close()
    assert driver.opened == 0
    assert reader.read() is None
    ClockReader("ffffffff-0000-4000-8000-000000000000").close()
    assert driver.opened == 0


def test_reasons_are_named(driver):
    """Every bit has NVML's name, and one that is not known keeps its value."""
    driver.bits = 0x4 | 0x40 | 0x8000
    with ClockReader(UUID) as reader:
        assert reader.read().reasons == ("hw_thermal_slowdown", "sw_power_cap", "unknown_0x8000")


def test_every_bit_of_the_bindings_has_a_name():
    """No reason that pynvml knows is told by a number."""
    bits = {
        value
        for name, value in vars(pynvml).items()
        if name.startswith(("nvmlClocksEventReason", "nvmlClocksThrottleReason"))
        and isinstance(value, int)
        and value.bit_count() == 1
    }
    assert bits == set(clocks.REASONS)
    assert set(clocks.REASONS.values()) >= clocks.SLOWING


def test_a_reason_that_has_passed_is_found_by_its_time(driver):
    """What held between two readings counts for the second of them, and only for it."""
    with ClockReader(UUID) as reader:
        assert reader.read().reasons == ()
        driver.fields[HW_THERMAL_TIME] += 1_000
        assert reader.read().reasons == ("hw_thermal_slowdown",)
        assert reader.read().reasons == ()


def test_what_held_before_the_reader_is_not_counted(driver):
    """The first reading tells what has held since the reader was made."""
    driver.fields[HW_THERMAL_TIME] = 10**12
    with ClockReader(UUID) as reader:
        assert reader.read().reasons == ()
    with ClockReader(UUID) as reader:
        driver.fields[HW_THERMAL_TIME] += 1
        assert reader.read().reasons == ("hw_thermal_slowdown",)


@pytest.mark.parametrize(
    ("function", "figures"),
    [
        ("nvmlDeviceGetClockInfo", ("sm_mhz", "memory_mhz")),
        ("nvmlDeviceGetTemperature", ("temperature_c",)),
        ("nvmlDeviceGetCurrentClocksEventReasons", ("reasons",)),
        ("nvmlDeviceGetFieldValues", ("power_w",)),
    ],
)
def test_a_query_that_is_not_supported_is_none(driver, function, figures):
    """It is no zero, the other figures stay, and the reason is NVML's."""
    driver.errors[function] = pynvml.NVML_ERROR_NOT_SUPPORTED
    with ClockReader(UUID) as reader:
        found = reader.read()
        reason = reader.reason
    for name in ("sm_mhz", "memory_mhz", "temperature_c", "power_w", "reasons"):
        assert (getattr(found, name) is None) == (name in figures)
    assert "Not Supported" in reason


def test_a_field_that_is_not_supported_is_none(driver):
    """A driver without instant power or times of reasons says so for each, and nothing is made up.

    The reasons of the moment are still read.
    """
    driver.fields.clear()
    driver.bits = 0x20
    with ClockReader(UUID) as reader:
        found = reader.read()
        assert (found.power_w, found.reasons) == (None, ("sw_thermal_slowdown",))
        assert reader.read().reasons == ("sw_thermal_slowdown",)
        assert "power: Not Supported" in reader.reason
        assert "time of hw_thermal_slowdown: Not Supported" in reader.reason


def test_an_older_driver_is_asked_by_the_older_name(driver):
    """Before R535 the reasons have another function."""
    driver.errors["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    driver.bits = 0x8
    with ClockReader(UUID) as reader:
        assert reader.read().reasons == ("hw_slowdown",)
        assert reader.reason == ""


def test_a_gpu_that_is_lost_meanwhile_has_no_figures(driver):
    """Every query fails, nothing raises, and the record can say why."""
    with ClockReader(UUID) as reader:
        for name in vars(driver.module):
            if name.startswith("nvmlDevice"):
                driver.errors[name] = pynvml.NVML_ERROR_GPU_IS_LOST
        assert reader.read() == ClockSample(
            sm_mhz=None, memory_mhz=None, temperature_c=None, power_w=None, reasons=None
        )
        assert "GPU is lost" in reader.reason


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        ("nvmlInit", pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "NVML: NVML Shared Library Not Found"),
        ("nvmlInit", pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "NVML: Driver Not Loaded"),
        ("nvmlDeviceGetHandleByUUID", pynvml.NVML_ERROR_NOT_FOUND, f"GPU-{UUID}: Not Found"),
    ],
)
def test_without_nvml_there_is_a_reason_and_no_sample(driver, function, error, words):
    """Without NVML, a driver or the GPU nothing raises, and the record says what is lacking."""
    driver.errors[function] = error
    with ClockReader(UUID) as reader:
        assert reader.read() is None
        assert reader.reason == words
    assert clocks.describe(UUID) == f"not readable: {words}"


def test_clocks_are_described_in_words(driver):
    """The doctor's line has the figures, and what holds the clocks back."""
    driver.bits = 0x1
    assert (
        clocks.describe(UUID) == "SM 1980 MHz, memory 3201 MHz, temperature 41 C, power 312.5 W,"
        " held back by gpu_idle"
    )
    driver.errors["nvmlDeviceGetTemperature"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    assert clocks.describe(UUID).endswith("; not readable: temperature: Not Supported")


@pytest.mark.parametrize("reason", sorted(clocks.SLOWING))
def test_a_round_with_a_slowing_reason_is_unsteady(reason):
    """Whatever its clock was at its end."""
    assert clocks.unsteady([sample(), sample(BOOST_MHZ, reason, "gpu_idle"), sample()]) == [1]


@pytest.mark.parametrize("reason", sorted({*clocks.REASONS.values()} - clocks.SLOWING))
def test_a_round_with_another_reason_is_steady(reason):
    """A power cap, an idle moment and chosen clocks are written down and not measured again."""
    assert clocks.unsteady([sample(BOOST_MHZ, reason)] * 3) == []


@pytest.mark.parametrize(
    ("sm_mhz", "is_unsteady"),
    [(1980, False), (1935, False), (2025, False), (1921, False), (1920, True), (2040, True)],
)
def test_a_clock_step_is_more_than_three_percent(sm_mhz, is_unsteady):
    """From the median of the rounds, up or down; a step of the driver's 15 MHz is none."""
    assert clocks.unsteady([*[sample()] * 5, sample(sm_mhz)]) == ([5] if is_unsteady else [])


def test_where_half_of_the_rounds_are_slow_those_are_the_unsteady_ones():
    """The median is a clock that was there, and the higher of two."""
    assert clocks.unsteady([sample(1980), sample(1500), sample(1500), sample(1980)]) == [1, 2]


def test_a_ramp_at_the_beginning_is_unsteady():
    """Rounds before the clock was up are told from the rest."""
    assert clocks.unsteady([sample(345), sample(1410), *[sample()] * 10]) == [0, 1]


def test_a_clock_that_is_slow_all_along_is_steady():
    """Chosen or capped clocks are like in every round, and every side has them."""
    assert clocks.unsteady([sample(1200)] * 6) == []


@pytest.mark.parametrize("samples", [[], [None, None], [None, sample(None), sample()]])
def test_what_is_not_known_is_not_unsteady(samples):
    """Without NVML, or without a clock, there is nothing to go by."""
    assert clocks.unsteady(samples) == []


def test_a_reason_counts_where_the_clock_is_unknown():
    """And a clock counts where the reasons are."""
    blind = ClockSample(
        sm_mhz=1000, memory_mhz=None, temperature_c=None, power_w=None, reasons=None
    )
    samples = [sample(), sample(), sample(None, "hw_slowdown"), blind, None]
    assert clocks.unsteady(samples) == [2, 3]


def test_steady_rounds_are_left_alone():
    """Nothing is measured again without need."""
    rounds = [sample()] * 24
    assert clocks.settle(rounds, lambda _: pytest.fail("measured again")) == (rounds, 0)


def test_an_unsteady_round_is_measured_again():
    """Its sample is replaced, and the others stay."""
    rounds = [sample()] * 8
    rounds[3] = sample(1500)
    asked = []

    def measure_again(number):
        asked.append(number)
        return sample(1965)

    counted, again = clocks.settle(rounds, measure_again)
    assert (asked, again) == ([3], 1)
    assert counted == [*[sample()] * 3, sample(1965), *[sample()] * 4]
    # what was handed in is the caller's
    assert rounds[3] == sample(1500)


def test_rounds_are_measured_again_in_turns_and_to_a_limit():
    """One that stays unsteady takes its turn, and at most half as many again are measured."""
    rounds = [sample()] * 8
    rounds[1] = rounds[6] = sample(BOOST_MHZ, "sw_thermal_slowdown")
    asked = []

    def measure_again(number):
        asked.append(number)
        return rounds[number]

    counted, again = clocks.settle(rounds, measure_again)
    assert asked == [1, 6, 1, 6]
    assert again == 4
    assert clocks.unsteady(counted) == [1, 6]


def test_a_clock_that_has_come_to_stay_is_what_counts_in_the_end():
    """After a lasting step the earlier rounds are measured again at the later clock."""
    counted, again = clocks.settle([sample(1980)] * 9 + [sample(1755)] * 15, lambda _: sample(1755))
    assert (counted, again) == ([sample(1755)] * 24, 9)


def test_the_log_says_what_was_done_and_what_remains():
    """The record has the samples, the rule, the count and the rounds that are unsteady still."""
    kept = [sample(), None, sample(1500), sample()]
    log = clocks.log_of(SIZE, kept, 2, "power: Not Supported")
    assert (log.measured_again, log.unsteady) == (2, (2,))
    assert log.samples == tuple(kept)
    assert log.reason == "power: Not Supported"
    for figure in ("3%", "50%", "hw_slowdown", "sw_thermal_slowdown"):
        assert figure in log.rule
    assert from_json(ClockLog, to_json(log)) == log


def test_the_doctor_tells_of_clocks_and_lease(driver, capsys, tmp_path, monkeypatch):
    """On a machine with a GPU both have a line, and without a lease no study can run."""
    gpu = Gpu(
        name="a GPU",
        uuid=UUID,
        compute_capability="9.0",
        sm_count=132,
        memory_bytes=1,
        l2_bytes=1,
        shared_memory_per_block_bytes=1,
        driver=None,
    )
    monkeypatch.setattr(environment, "find_gpu", lambda: gpu)
    monkeypatch.setenv("TRITONEXP_LEASES", str(tmp_path))
    doctor = ["doctor", "--folder", str(tmp_path / "mlruns")]
    assert cli.main(doctor) == 0
    shown = capsys.readouterr().out
    assert "SM 1980 MHz" in shown
    assert "free: " in shown
    monkeypatch.setenv("TRITONEXP_LEASES", str(tmp_path / "absent"))
    assert cli.main(doctor) == 1
    assert "no lease of the GPU can be had" in capsys.readouterr().out


@pytest.mark.gpu
def test_a_real_gpu_tells_its_clocks():
    """NVML finds the GPU that torch computes on, and its figures are those of a GPU at work."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")
    gpu = environment.find_gpu()
    left = torch.randn(4096, 4096, device="cuda")
    with ClockReader(gpu.uuid) as reader:
        for _ in range(20):
            left @ left  # work, of which the result is not needed
        torch.cuda.synchronize()
        found = reader.read()
        reason = reader.reason
    assert found is not None, reason
    # the clock is what every data centre's GPU tells; of the rest, what is not told has a reason
    assert found.sm_mhz is not None, reason
    assert 100 <= found.sm_mhz <= 4000
    assert found.memory_mhz is None or 100 <= found.memory_mhz <= 20_000
    assert found.temperature_c is None or 5 <= found.temperature_c <= 110
    assert found.power_w is None or 5 <= found.power_w <= 2000
    assert set(found.reasons or ()) <= set(clocks.REASONS.values())
    if None in (found.memory_mhz, found.temperature_c, found.power_w, found.reasons):
        assert reason
