"""What tells the jobs of a sweep apart beside operation, model and prompt, in words.

A choice that varies is told by its name, as in sizes=smoke; a key inside of one, or of none, as in
model.effort=low, and only where jobs of the same choice differ in it: what follows from the name is
told by the name. The seed and the recorded sample are repeats rather than settings, and where a run
is logged makes no difference to it.

Does not cover a choice whose YAML changed within the sweep: a key that both files have is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritonexp.records import StudyRecord, sha256_of

# choices with a name of their own; the first three have columns of their own
COLUMNS = ("operation", "model", "prompt")
NAMED = (*COLUMNS, "strategy", "sizes", "timing", "expert", "profile")
REPEATS = frozenset({"seed", "model.sample"})
ELSEWHERE = "tracking"
NULL = "null"
# of a setting in a metric's name, which may have 250 letters with all that stands around it
MOST_LETTERS = 120
SHA_LETTERS = 8


def settings_of(records: Sequence[StudyRecord], groups: Iterable[str] = ()) -> tuple[str, ...]:
    """Each record's setting, as in timing=device model.effort=low; "" where nothing varies.

    With groups, only what they hold; "" is the group of the keys outside of any.
    """
    wanted = frozenset(groups)
    names = [_names_of(record) for record in records]
    keys = [_keys_of(record) for record in records]
    told: list[list[str]] = [[] for _ in records]
    for group in (*NAMED, ""):
        if wanted and group not in wanted:
            continue
        chosen: dict[str, list[int]] = {}
        for index, named in enumerate(names):
            chosen.setdefault(named.get(group, ""), []).append(index)
        for name, members in chosen.items():
            inside = [keys[index].get(group, {}) for index in members]
            varying = _varying(inside)
            # sizes of one's own are told by their extents
            is_told = group in COLUMNS or len(chosen) == 1 or "sizes.custom" in varying
            label = [] if is_told else [f"{group}={name}"]
            for index, found in zip(members, inside, strict=True):
                told[index] += [*label, *(f"{key}={found.get(key, NULL)}" for key in varying)]
    return tuple(" ".join(parts) for parts in told)


def slugs(settings: Iterable[str]) -> dict[str, str]:
    """Each setting as a part of a metric's name, no two alike."""
    found = {text: re.sub(r"[^\w.-]+", "_", text).strip("_") for text in settings}
    uses = Counter(found.values())
    return {
        text: slug
        if len(slug) <= MOST_LETTERS and uses[slug] == 1
        else f"{slug[:MOST_LETTERS]}_{sha256_of(text)[:SHA_LETTERS]}"
        for text, slug in found.items()
    }


def _varying(found: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that differ, in their order."""
    keys = dict.fromkeys(key for item in found for key in item)
    return [key for key in keys if len({item.get(key, NULL) for item in found}) > 1]


def _names_of(record: StudyRecord) -> dict[str, str]:
    """What was chosen in each group."""
    choices = record.choices
    profile = record.config.get("profile")
    return {
        "operation": choices.operation,
        "model": choices.model,
        "prompt": choices.prompt,
        "strategy": choices.strategy,
        "sizes": choices.sizes,
        "timing": choices.timing,
        "expert": choices.expert,
        "profile": str(profile.get("name", "none")) if isinstance(profile, dict) else "none",
    }


def _keys_of(record: StudyRecord) -> dict[str, dict[str, str]]:
    """The keys of a configuration by their group, as text; without the groups' names."""
    found: dict[str, dict[str, str]] = {}
    for group, settings in record.config.items():
        if group == ELSEWHERE or group in REPEATS:
            continue
        if not isinstance(settings, dict):
            found.setdefault("", {})[group] = text_of(settings)
            continue
        own = found.setdefault(group if group in NAMED else "", {})
        for key, value in settings.items():
            name = f"{group}.{key}"
            if key != "name" and name not in REPEATS:
                own[name] = text_of(value)
    sizes = found.get("sizes", {})
    if sizes.get("sizes.custom", NULL) != NULL:
        # which takes the ladder's place
        sizes.pop("sizes.ladder", None)
    return found


def text_of(value: Any) -> str:
    """A value as a command line would have it, without quotes."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{text_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(text_of, value)) + "]"
    return str(value)
