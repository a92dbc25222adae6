"""The section of a sweep over timing protocols: what each clock says of one kernel, and why.

Verdict words are those of the records' comparisons; the sentences only say which figures of the
tables stand behind the difference. Does not cover an interval of a difference between two runs,
whose rounds do not belong together.
"""

from __future__ import annotations

from collections.abc import Sequence

from tritonexp.records import Comparison, Role, Size, Status, StudyRecord
from tritonexp.report import buffers, view, words
from tritonexp.report.matching import Match, Run, ended, protocols_of

PICTURE = "protocols.png"
# a host time of more than so many device times is launch overhead rather than kernel
LAUNCH_FACTOR = 2.0
MEAN = "geometric mean"


def section(matches: Sequence[Match], records: Sequence[StudyRecord]) -> str:
    """What each clock says of each kernel; "" where the sweep compares no protocols."""
    if not matches:
        return ""
    blocks = ["## Timing protocols"]
    compared = [match for match in matches if match.is_comparable]
    if compared:
        blocks += [
            (
                "The same kernel, timed by different protocols. A ratio is the reference's time"
                " over the candidate's in the rounds of one run, with its 95 % interval and that"
                f" run's own verdict. {words.RATIO_RULE} Clocks are set side by side and never"
                " mixed."
            ),
            f"![The candidate's ratio by each protocol]({PICTURE})",
        ]
    for match in compared:
        blocks += _compared(match)
    protocols = list(dict.fromkeys(protocols_of(records)))
    lines = [_absent(match, protocols) for match in matches if not match.is_comparable]
    return "\n\n".join([*blocks, *(["\n".join(lines)] if lines else [])])


def _compared(match: Match) -> list[str]:
    blocks = [f"### {match.name}", "\n".join(_origins(match)), _ratios(match), _times_head(match)]
    blocks.append(_times(match))
    if any(
        view.uncaptured(run.timing(role, size))
        for run in match.timed
        for role in _sides(match)
        for size in match.sizes
    ):
        blocks.append("\\* By events around eager calls: a call could not be captured.")
    for device, host in match.pairs:
        found = (
            _claim(match, device, host),
            _not_the_devices(match, device, host),
            _launch_overhead(match, device, host),
            _host_code(match, device, host),
        )
        blocks.append("\n".join(f"- {sentence}" for sentence in found if sentence))
    return blocks


def _origins(match: Match) -> list[str]:
    lines = []
    for run in match.runs:
        if run.shown is None:
            lines.append(f"- **{run.protocol}:** {run.why}")
        else:
            how = view.CLOCK_METHODS[run.shown.clock]
            lines.append(f"- **{run.protocol}:** {how}; {run.shown.label}")
            for role in match.references:
                trial = run.trial(role)
                if trial is not None and trial.status is not Status.CORRECT:
                    lines[-1] += (
                        f"; {trial.implementation.name} {ended(trial.status, trial.reason)}"
                    )
        again = match.repeated.count(run.protocol)
        if again:
            lines[-1] += f"; the first of {again + 1} runs"
    gpus = {view.gpu_name(run.shown.evaluation) for run in match.timed if run.shown is not None}
    if len(gpus) > 1:
        lines.append("- The runs were on different GPUs: not the clock alone makes the difference.")
    return lines


def _ratios(match: Match) -> str:
    places: list[tuple[str, Size | None]] = [(size.label, size) for size in match.sizes]
    return words.table(
        (
            "size",
            *(
                f"candidate / {match.name_of(role)}, {run.protocol}"
                for role in match.references
                for run in match.timed
            ),
        ),
        [
            (
                label,
                *(
                    words.verdict(run.comparison(role, size))
                    for role in match.references
                    for run in match.timed
                ),
            )
            for label, size in [*places, (MEAN, None)]
        ],
    )


def _times_head(match: Match) -> str:
    text = "Microseconds per call, medians over the rounds with 95 % intervals."
    if match.pairs:
        text += (
            " A difference is of two medians. It is below 0 where a host-timed call was over sooner"
            " than the device's protocol says of the kernel alone, as on a buffer that stays in the"
            " cache. The eager call is of the run by device time: one call from the host, waited"
            " for, where the host's protocol issues many and waits once."
        )
    return text


def _times(match: Match) -> str:
    eager = [run for run in match.timed if not run.by_host]
    rows = []
    for size in match.sizes:
        for role in _sides(match):
            cells = []
            for run in match.timed:
                timing = run.timing(role, size)
                cells.append(words.timing(timing, " *" if view.uncaptured(timing) else ""))
            for device, host in match.pairs:
                cells.append(words.time_us(_extra_us(device, host, role, size)))
                cells.append(words.ratio(_factor(device, host, role, size)))
            cells += [words.time_us(_eager_us(run, role, size)) for run in eager]
            rows.append((size.label, match.name_of(role), *cells))
    differences = [
        head
        for device, host in match.pairs
        for head in (
            f"{host.protocol} minus {device.protocol}",
            f"{host.protocol} / {device.protocol}",
        )
    ]
    return words.table(
        (
            "size",
            "side",
            *(run.protocol for run in match.timed),
            *differences,
            *(f"eager call ({run.protocol})" for run in eager),
        ),
        rows,
    )


def _claim(match: Match, device: Run, host: Run) -> str:
    """What the host's clock alone would have claimed, beside the device's verdict."""
    role = match.references[0]
    name = match.name_of(role)
    by_host, by_device = host.comparison(role, None), device.comparison(role, None)
    if by_host is None or by_device is None or by_host.speedup is None or by_device.speedup is None:
        reasons = [
            f"{run.protocol}: {item.reason if item and item.reason else 'not compared'}"
            for run, item in ((host, by_host), (device, by_device))
            if item is None or item.speedup is None
        ]
        return f"**Over all sizes** there is no ratio to {name} by both ({'; '.join(reasons)})."
    text = (
        f"**By {host.protocol} alone** the claim would have been that the candidate reaches"
        f" {_share(by_host, name)}. **By {device.protocol}** it reaches {_share(by_device, name)}."
    )
    places: list[tuple[str, Size | None]] = [(size.label, size) for size in match.sizes]
    differing = []
    for label, size in [*places, ("the mean over all sizes", None)]:
        one, other = host.comparison(role, size), device.comparison(role, size)
        if one and other and one.speedup and other.speedup and one.outcome is not other.outcome:
            differing.append(f"{label} ({one.outcome} against {other.outcome})")
    if differing:
        text += f" The verdicts differ at {_listed(differing)}."
    return text


def _not_the_devices(match: Match, device: Run, host: Run) -> str:
    found = []
    for role in _sides(match):
        extras = [_extra_us(device, host, role, size) for size in match.sizes]
        found.append(f"{match.name_of(role)} {_range_us(extras)}")
    text = (
        f"**Not the device's** of a host-timed call is, over the sizes, {host.protocol} minus"
        f" {device.protocol}: {'; '.join(found)}."
    )
    below = [
        f"{match.name_of(role)} at {_listed(places)}"
        for role in _sides(match)
        if (
            places := [
                size.label
                for size in match.sizes
                if (extra := _extra_us(device, host, role, size)) is not None and extra < 0
            ]
        )
    ]
    if below:
        text += f" Below 0: {'; '.join(below)}{_buffers(device, host)}."
    return text


def _buffers(device: Run, host: Run) -> str:
    """How the protocols' buffers differ, where they do."""
    protocols = [
        run.shown.evaluation.protocol
        for run in (device, host)
        if run.shown is not None and run.shown.evaluation.protocol is not None
    ]
    told = [buffers.in_short(protocol) for protocol in protocols]
    if len(set(told)) < 2:  # noqa: PLR2004
        return ""
    return f". {device.protocol} calls on {told[0]}; {host.protocol} on {told[1]}"


def _launch_overhead(match: Match, device: Run, host: Run) -> str:
    found = []
    for role in _sides(match):
        factors = {size.label: _factor(device, host, role, size) for size in match.sizes}
        places = [label for label, factor in factors.items() if factor and factor > LAUNCH_FACTOR]
        if not any(factors.values()):
            where = words.MISSING
        elif len(places) == len(factors):
            where = "at every size"
        else:
            where = f"at {_listed(places)}" if places else "at no size"
        found.append(f"{match.name_of(role)} {where}")
    return (
        f"**Launch overhead rather than kernel** ({host.protocol} more than {LAUNCH_FACTOR:g} times"
        f" {device.protocol}): {'; '.join(found)}."
    )


def _host_code(match: Match, device: Run, host: Run) -> str:
    """What a call of the expert costs beside one of the candidate."""
    if Role.EXPERT not in match.references:
        return ""
    name = match.name_of(Role.EXPERT)
    sides = (Role.EXPERT, Role.CANDIDATE)
    more = [
        _range_us([_more_us(run, size) for size in match.sizes], signed=True)
        for run in (host, device)
    ]
    text = (
        f"**What a call of {name} costs** beyond one of the candidate, over the sizes: {more[0]} by"
        f" {host.protocol}, {more[1]} by {device.protocol}."
    )
    eager = {role: [_eager_us(device, role, size) for size in match.sizes] for role in sides}
    if all(any(value is not None for value in values) for values in eager.values()):
        parts = [
            f"{match.name_of(role)} {_range_us(eager[role])}, of which the device's"
            f" {_range_us([_median_us(device, role, size) for size in match.sizes])}"
            for role in sides
        ]
        text += f" One eager call, waited for: {'; '.join(parts)}."
    return text


def _absent(match: Match, protocols: Sequence[str]) -> str:
    """One line on why the protocols cannot be compared."""
    found = []
    for name in protocols:
        run = next((run for run in match.runs if run.protocol == name), None)
        if run is None:
            found.append(f"{name}: no run of this kernel")
        else:
            found.append(f"{name}: {run.why or 'timed'}")
    return f"- {match.name}: the protocols cannot be compared. {'; '.join(found)}."


def _sides(match: Match) -> tuple[Role, ...]:
    return (Role.CANDIDATE, *match.references)


def _median_us(run: Run, role: Role, size: Size) -> float | None:
    timing = run.timing(role, size)
    return None if timing is None else timing.median_us


def _eager_us(run: Run, role: Role, size: Size) -> float | None:
    timing = run.timing(role, size)
    return None if timing is None else timing.host_us


def _extra_us(device: Run, host: Run, role: Role, size: Size) -> float | None:
    return _minus(_median_us(host, role, size), _median_us(device, role, size))


def _more_us(run: Run, size: Size) -> float | None:
    return _minus(_median_us(run, Role.EXPERT, size), _median_us(run, Role.CANDIDATE, size))


def _factor(device: Run, host: Run, role: Role, size: Size) -> float | None:
    above, below = _median_us(host, role, size), _median_us(device, role, size)
    return None if above is None or below is None else above / below


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _share(item: Comparison, name: str) -> str:
    """A speed-up as a part of the reference, with the comparison's own words."""
    share = None if item.speedup is None else 100 * item.speedup
    return f"{words.number(share, 0)} % of {name}, {words.verdict(item)}"


def _range_us(values: Sequence[float | None], *, signed: bool = False) -> str:
    """The least and the most of the figures that there are, as in 3.10 to 29.90 µs."""
    known = [value for value in values if value is not None]
    if not known:
        return words.MISSING
    ends = dict.fromkeys(
        ("+" if signed and end > 0 else "") + words.time_us(end) for end in (min(known), max(known))
    )
    return " to ".join(ends) + " µs"


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items)
