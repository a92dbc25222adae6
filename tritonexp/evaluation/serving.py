"""A child's side of its channel: commands that are called by name, and what they raise, as data."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from tritonexp.evaluation.channel import Channel

MESSAGE_CHARACTERS = 2_000
TRACEBACK_CHARACTERS = 12_000


def serve(channel: Channel, commands: Mapping[str, Callable[..., dict[str, Any]]]) -> None:
    """Call what the referee asks for, with what it sends, until it ends the process."""
    while True:
        request, descriptors = channel.serve()
        command = request.pop("command")
        if command not in commands:
            channel.reply(error={"types": ["KeyError"], "message": command, "traceback": ""})
            continue
        if descriptors:
            request["descriptors"] = descriptors
        try:
            answer = commands[command](**request)
        except BaseException as error:  # noqa: BLE001 - sys.exit in an implementation is an answer too
            answer = {"error": _described(error)}
        channel.reply(**answer)


def _described(error: BaseException) -> dict[str, Any]:
    return {
        "types": [kind.__name__ for kind in type(error).__mro__],
        "message": str(error)[:MESSAGE_CHARACTERS],
        "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
    }
