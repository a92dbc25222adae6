"""Answers that are asked for in the background, before anybody waits for them.

Every model has one line of questions, whatever job they are of, and at most `parallel` of them are
under way. The threads are daemons: an executor's would be joined when the interpreter exits, so
that Ctrl-C would wait for the whole of an answer.

Not covered: how many answers are worth asking for ahead, see sweep.py; and a question that depends
on an earlier answer: it is asked at once, beside the line.
"""

import threading
from dataclasses import dataclass, field

from tritonexp.generation.wrapping import Wrapped
from tritonexp.protocols import Provider
from tritonexp.records import Completion, Prompt

# one for all lines: it is held for moments, and answers take seconds
_changed = threading.Condition()


@dataclass
class _Line:
    """The questions to one model, in the order in which they are asked."""

    waiting: "list[AskedAhead]" = field(default_factory=list)  # one entry for each answer
    under_way: int = 0


_lines: dict[str, _Line] = {}


class AskedAhead(Wrapped):
    """A provider that has been asked the same prompt `count` times when it is made."""

    def __init__(self, provider: Provider, prompt: Prompt, count: int) -> None:
        super().__init__(provider)
        self._prompt = prompt
        self._count = count
        self._begun = 0
        self._taken = 0
        self._answers: dict[int, Completion] = {}
        self._failure: BaseException | None = None
        with _changed:
            self._line = _lines.setdefault(provider.name, _Line())
            self._line.waiting += [self] * count
            _begin(self._line)

    def complete(self, prompt: Prompt) -> Completion:
        """Wait for the next answer; another prompt, or one answer more, is asked for directly.

        Raises what the provider raised, as soon as an answer that is not there is wanted: those
        that had not been begun by then are never asked for.
        """
        with _changed:
            number = self._taken
            if prompt == self._prompt and number < self._count:
                while number not in self._answers:
                    if self._failure is not None:
                        raise self._failure
                    _changed.wait()
                self._taken += 1
                return self._answers[number]
        return self._provider.complete(prompt)

    def come(self) -> tuple[Completion, ...]:
        """List the answers that are there, up to the first that is not; none where one raised."""
        with _changed:
            if self._failure is not None:
                return ()
            there: list[Completion] = []
            while len(there) in self._answers:
                there.append(self._answers[len(there)])
            return tuple(there)

    def close(self) -> None:
        """Ask for no answer that has not been begun: nobody waits for one any more."""
        with _changed:
            self._line.waiting = [asked for asked in self._line.waiting if asked is not self]
            if self._failure is None:
                self._count = self._begun

    def begin(self) -> None:
        """Ask for the next answer in a thread of its own; for the line, which holds the lock."""
        number = self._begun
        threading.Thread(
            target=self._ask, args=(number,), name=f"{self.name}-{number}", daemon=True
        ).start()
        self._begun += 1

    def _ask(self, number: int) -> None:
        try:
            answer, failure = self._provider.complete(self._prompt), None
        except BaseException as error:  # noqa: BLE001  # raised where the answer is waited for
            answer, failure = None, error
        with _changed:
            self._line.under_way -= 1
            if answer is not None:
                self._answers[number] = answer
            elif self._failure is None:
                self._failure = failure
                self.close()
            _begin(self._line)
            _changed.notify_all()


def _begin(line: _Line) -> None:
    """Ask for as many answers of a line as may be under way."""
    while line.waiting and line.under_way < max(1, line.waiting[0].parallel):
        line.waiting.pop(0).begin()
        line.under_way += 1
