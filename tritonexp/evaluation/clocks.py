"""What the driver's monitor (NVML) says of a GPU after a round, and which rounds are unsteady.

Clocks are in MHz, temperatures in degrees Celsius, power in watts. The reasons that held the clocks
back in a round are those that hold at its end, and those whose time the driver counts and that
grew since the reading before. What cannot be read is None, and `reason` says why.

Does not cover a clock that dips and comes back within a round for a reason that the driver does not
count; nor drivers that count no times at all, where only the round's end is seen; nor MIG
instances, of which NVML tells little.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tritonexp.records import ClockLog, ClockSample, Size

# NVML's bits of the clocks event reasons, by number: drivers before R535 name them otherwise
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
    0x200: "board_limit",
    0x400: "reliability",
}
# those that cut the clock for a while, whatever runs. The power cap is left out: heavy work lives
# with it, in every round alike, and where it moves the clock, the step is seen
SLOWING = frozenset(
    {"hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"}
)
# relative, between the SM clock of a round and the median of all
MAX_CLOCK_STEP = 0.03
# how many rounds may be measured again, relative to how many there are
MAX_AGAIN_SHARE = 0.5
RULE = (
    f"A round is unsteady if NVML reports {', '.join(sorted(SLOWING))} for it, or an SM clock after"
    f" it that is more than {MAX_CLOCK_STEP:.0%} from the median of the rounds. After the last"
    " round, unsteady ones are measured again, in turns and while any is left, at most"
    f" {MAX_AGAIN_SHARE:.0%} of the number of rounds altogether. Times play no part in it."
)


class ClockReader:
    """Reads one GPU's clocks; a context manager that opens NVML once.

    Raises nothing where NVML cannot be had: then `read` returns None.
    """

    def __init__(self, gpu_uuid: str) -> None:
        """Open NVML; the reasons of the first reading count from here."""
        import pynvml

        self._nvml: Any = pynvml
        self._device: Any = None
        # what could not be read -> NVML's words
        self._missing: dict[str, str] = {}
        # reason -> for how long it has held, by the driver's count
        self._held: dict[str, int] = {}
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._missing["NVML"] = str(error)
            return
        self._device = self._found(gpu_uuid)
        if self._device is None:
            pynvml.nvmlShutdown()
        else:
            self._fields()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close NVML; `read` returns None from then on."""
        if self._device is not None:
            self._device = None
            self._nvml.nvmlShutdown()

    @property
    def reason(self) -> str:
        """Why something was not read, "" where all was."""
        return "; ".join(f"{what}: {why}" for what, why in self._missing.items())

    def read(self) -> ClockSample | None:
        """The GPU as it is now, and what has held its clocks back since the last reading.

        It takes five calls to the driver, and does not wait for the GPU.
        """
        if self._device is None:
            return None
        nvml, device = self._nvml, self._device
        # the clocks first, since an idle GPU lowers them
        sm_mhz = self._asked("SM clock", nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_SM)
        bits = self._asked("reasons", self._reason_bits)
        power_mw, grown = self._fields()
        memory_mhz = self._asked(
            "memory clock", nvml.nvmlDeviceGetClockInfo, device, nvml.NVML_CLOCK_MEM
        )
        temperature_c = self._asked(
            "temperature", nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU
        )
        return ClockSample(
            sm_mhz=sm_mhz,
            memory_mhz=memory_mhz,
            temperature_c=temperature_c,
            power_w=None if power_mw is None else power_mw / 1e3,
            reasons=None if bits is None else tuple(sorted(names_of(bits) | grown)),
        )

    def _found(self, gpu_uuid: str) -> Any:
        # CUDA gives UUIDs without the prefix that NVML asks for
        bare = gpu_uuid.removeprefix("GPU-")
        return self._asked(f"GPU-{bare}", self._nvml.nvmlDeviceGetHandleByUUID, f"GPU-{bare}")

    def _asked(self, what: str, call: Callable[..., Any], *arguments: object) -> Any:
        """What a call returns; None where NVML raises, of which the first reason is kept."""
        try:
            return call(*arguments)
        except self._nvml.NVMLError as error:
            self._missing.setdefault(what, str(error))
            return None

    def _reason_bits(self) -> int:
        nvml = self._nvml
        try:
            return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(self._device))
        except nvml.NVMLError_FunctionNotFound:
            # its name before R535
            return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._device))

    def _fields(self) -> tuple[int | None, set[str]]:
        """Power in milliwatts, and the reasons whose time has grown since they were last asked."""
        nvml = self._nvml
        # not nvmlDeviceGetPowerUsage, which is the average of a second
        wanted = {
            "power": nvml.NVML_FI_DEV_POWER_INSTANT,
            "sw_power_cap": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP,
            "sw_thermal_slowdown": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
            "hw_thermal_slowdown": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
            "hw_power_brake_slowdown": nvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
        }
        found = self._asked(
            "fields", nvml.nvmlDeviceGetFieldValues, self._device, list(wanted.values())
        )
        power_mw, grown = None, set()
        for name, field in zip(wanted, found or (), strict=False):
            if field.nvmlReturn != nvml.NVML_SUCCESS:
                what = name if name == "power" else f"time of {name}"
                self._missing.setdefault(what, str(nvml.NVMLError(field.nvmlReturn)))
            elif name == "power":
                power_mw = self._value_of(field)
            else:
                held = self._value_of(field)
                if held > self._held.get(name, held):
                    grown.add(name)
                self._held[name] = held
        return power_mw, grown

    def _value_of(self, field: Any) -> int:
        nvml = self._nvml
        part = {
            nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
            nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
            nvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
        }[field.valueType]
        return int(getattr(field.value, part))


def names_of(bits: int) -> set[str]:
    """The names of NVML's reasons; a bit that this version does not know is told by its value."""
    each = (1 << place for place in range(bits.bit_length()))
    return {REASONS.get(bit, f"unknown_{bit:#x}") for bit in each if bits & bit}


def unsteady(samples: Sequence[ClockSample | None]) -> list[int]:
    """The rounds, from 0, that RULE calls unsteady; one of which nothing is known is not."""
    known_mhz = [one.sm_mhz for one in samples if one is not None and one.sm_mhz is not None]
    # where two lie in the middle, the higher: a clock that was there, and the slow one is the step
    median_mhz = statistics.median_high(known_mhz) if known_mhz else 0
    return [
        number
        for number, one in enumerate(samples)
        if one is not None
        and (not SLOWING.isdisjoint(one.reasons or ()) or _has_stepped(one.sm_mhz, median_mhz))
    ]


def _has_stepped(sm_mhz: int | None, median_mhz: int) -> bool:
    return sm_mhz is not None and abs(sm_mhz - median_mhz) > MAX_CLOCK_STEP * median_mhz


def settle(
    samples: Sequence[ClockSample | None], measure_again: Callable[[int], ClockSample | None]
) -> tuple[list[ClockSample | None], int]:
    """Have unsteady rounds measured again as RULE has it, after the last of the rounds.

    `measure_again` takes the number of a round, replaces its times by new ones, and returns its new
    sample. Returns the samples of the rounds that count, and how many were measured again.
    """
    counted = list(samples)
    left = most = int(MAX_AGAIN_SHARE * len(counted))
    # each in its turn: one that stays unsteady does not use up what the others may need
    while left and (waiting := unsteady(counted)):
        for number in waiting[:left]:
            counted[number] = measure_again(number)
            left -= 1
    return counted, most - left


def log_of(
    size: Size, samples: Sequence[ClockSample | None], measured_again: int, reason: str
) -> ClockLog:
    """What a record keeps of the clocks at one size, of the samples that `settle` returns."""
    return ClockLog(
        size=size,
        samples=tuple(samples),
        measured_again=measured_again,
        unsteady=tuple(unsteady(samples)),
        rule=RULE,
        reason=reason,
    )


def describe(gpu_uuid: str) -> str:
    """Whether a GPU's clocks can be read, and what they are now, in words."""
    with ClockReader(gpu_uuid) as reader:
        sample = reader.read()
        reason = reader.reason
    if sample is None:
        return f"not readable: {reason}"
    figures = (
        ("SM", sample.sm_mhz, "MHz"),
        ("memory", sample.memory_mhz, "MHz"),
        ("temperature", sample.temperature_c, "C"),
        ("power", sample.power_w, "W"),
    )
    said = [f"{name} {figure:g} {unit}" for name, figure, unit in figures if figure is not None]
    if sample.reasons:
        said.append(f"held back by {', '.join(sample.reasons)}")
    return ", ".join(said) + (f"; not readable: {reason}" if reason else "")
