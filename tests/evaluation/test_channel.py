"""The private channel: what comes through, and what is refused."""

import json
import os
import socket
import struct
import threading
import time

import pytest
from processes import open_descriptors

from tritonexp.evaluation.channel import (
    MAX_FRAME_BYTES,
    Channel,
    ChannelClosedError,
    ChannelGarbageError,
    ChannelTimeoutError,
)


@pytest.fixture
def ends():
    """The referee's end, and the raw socket of whoever is at the other."""
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def frame(body, length=None):
    """A frame with a body, and with a length that may be a lie."""
    return struct.pack(">I", len(body) if length is None else length) + body


def test_answer_belongs_to_its_request(ends):
    """A request arrives with its fields, and its answer comes back without the nonce."""
    ours, theirs = ends
    worker = Channel(theirs)
    for number in range(3):
        ours.ask("run", count=number, nested={"shape": [3, 257]})
        request, descriptors = worker.serve()
        assert request == {"command": "run", "count": number, "nested": {"shape": [3, 257]}}
        assert descriptors == []
        worker.reply(done=number)
        assert ours.answer(5) == {"done": number}


def test_requests_under_way_are_answered_in_their_order(ends):
    """Several may be sent before the first answer is read; an answer out of turn is refused."""
    ours, theirs = ends
    worker = Channel(theirs)
    for number in range(3):
        ours.ask("run", count=number)
    for number in range(3):
        assert worker.serve()[0]["count"] == number
        worker.reply(done=number)
    assert [ours.answer(5)["done"] for _ in range(3)] == [0, 1, 2]
    ours.ask("run")
    ours.ask("run")
    worker.serve()
    worker.serve()
    worker.reply(done=1)
    with pytest.raises(ChannelGarbageError, match="nonce"):
        ours.answer(5)


def test_answer_that_has_come_is_read_though_the_time_is_up(ends):
    """A reader that was busy elsewhere does not blame the other end for it."""
    ours, theirs = ends
    worker = Channel(theirs)
    ours.ask("run")
    worker.serve()
    worker.reply(done=1)
    assert ours.answer(0) == {"done": 1}
    ours.ask("run")
    with pytest.raises(ChannelTimeoutError):
        ours.answer(0)


def test_waiting_tells_which_channels_have_something(ends):
    """An answer and a closed end count; silence ends with the time that was given."""
    first, _ = ends
    second, at_second = Channel.pair()
    third, at_third = Channel.pair()
    assert Channel.wait([first, second, third], 0.01) == [False, False, False]
    at_second.send(frame(b"{}"))
    at_third.close()
    assert Channel.wait([first, second, third], 5) == [False, True, True]
    for end in (second, third, at_second):
        end.close()


def test_nonces_are_never_repeated(ends):
    """Two requests carry two nonces, so what answered one cannot answer the other."""
    ours, theirs = ends
    seen = set()
    for _ in range(20):
        ours.ask("run")
        (length,) = struct.unpack(">I", theirs.recv(4))
        seen.add(json.loads(theirs.recv(length))["nonce"])
    assert len(seen) == 20
    assert all(len(nonce) >= 16 for nonce in seen)


@pytest.mark.parametrize(
    "message",
    [{"done": True}, {"nonce": None, "done": True}, {"nonce": "0" * 16, "done": True}],
    ids=["none", "null", "another"],
)
def test_answer_without_the_nonce_is_garbage(ends, message):
    """What was written without knowing the request is no answer to it."""
    ours, theirs = ends
    ours.ask("run")
    theirs.sendall(frame(json.dumps(message).encode()))
    with pytest.raises(ChannelGarbageError, match="nonce"):
        ours.answer(5)


def test_answer_sent_twice_does_not_answer_the_next_request(ends):
    """A second copy of an answer lies in wait for the next request, and is refused."""
    ours, theirs = ends
    worker = Channel(theirs)
    ours.ask("run")
    worker.serve()
    worker.reply(done=1)
    worker.reply(done=1)
    assert ours.answer(5) == {"done": 1}
    ours.ask("run")
    with pytest.raises(ChannelGarbageError, match="nonce"):
        ours.answer(5)


@pytest.mark.parametrize(
    "written",
    [
        frame(b"not json"),
        frame(b"\xff\xfe\x00"),
        frame(b""),
        frame(b"[1, 2]"),
        frame(b'"text"'),
        frame(b"null"),
        frame(b"", MAX_FRAME_BYTES + 1),
        b"\xff" * 64,
        b"speedup: 1000x\n" * 100,
    ],
    ids=["text", "bytes", "empty", "list", "string", "null", "too-large", "ones", "print"],
)
def test_stray_bytes_are_garbage(ends, written):
    """Whatever is no frame of a JSON object is refused at once, and not waited for."""
    ours, theirs = ends
    ours.ask("run")
    theirs.sendall(written)
    begin = time.monotonic()
    with pytest.raises(ChannelGarbageError):
        ours.answer(10)
    assert time.monotonic() - begin < 5


def test_deeply_nested_json_is_garbage(ends):
    """A frame that would overflow the parser's stack is garbage, not an error of the referee."""
    ours, theirs = ends
    ours.ask("run")
    sender = threading.Thread(target=theirs.sendall, args=(frame(b"[" * 1_000_000),))
    sender.start()
    with pytest.raises(ChannelGarbageError, match="nested"):
        ours.answer(10)
    sender.join()


def test_too_large_request_is_refused_before_it_is_sent(ends):
    """A message over the limit raises where it is made, and nothing of it is on the wire."""
    ours, theirs = ends
    with pytest.raises(ChannelGarbageError, match="bytes is over"):
        ours.ask("run", text="x" * MAX_FRAME_BYTES)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_large_message_comes_whole(ends):
    """A message of many socket buffers arrives as it was sent."""
    ours, theirs = ends
    worker = Channel(theirs)
    text = "softmax " * 100_000
    echo = threading.Thread(target=lambda: worker.reply(text=worker.serve()[0]["text"]))
    echo.start()
    ours.ask("echo", text=text)
    assert ours.answer(10) == {"text": text}
    echo.join()


@pytest.mark.parametrize(
    "written", [b"", b"\x00\x00", frame(b'{"nonce": ', 100)], ids=["nothing", "header", "body"]
)
def test_answer_that_does_not_come_times_out(ends, written):
    """Silence and half a frame both end at the time limit."""
    ours, theirs = ends
    ours.ask("run")
    theirs.sendall(written)
    begin = time.monotonic()
    with pytest.raises(ChannelTimeoutError):
        ours.answer(0.2)
    assert 0.15 < time.monotonic() - begin < 5


def test_trickle_does_not_extend_the_limit(ends):
    """The limit is for the whole answer: a byte now and then does not put it off."""
    ours, theirs = ends
    ours.ask("run")
    theirs.sendall(struct.pack(">I", 1000))
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            theirs.sendall(b" ")

    sender = threading.Thread(target=trickle)
    sender.start()
    begin = time.monotonic()
    try:
        with pytest.raises(ChannelTimeoutError):
            ours.answer(0.4)
        assert time.monotonic() - begin < 5
    finally:
        stop.set()
        sender.join()


@pytest.mark.parametrize("written", [b"", frame(b'{"nonce": ', 100)], ids=["silent", "half"])
def test_closed_end_is_told_from_silence(ends, written):
    """An end that is gone is found at once, without waiting for the limit."""
    ours, theirs = ends
    ours.ask("run")
    theirs.sendall(written)
    # everything that was sent to it is read, or the kernel says "reset" in place of "closed"
    theirs.recv(1 << 16)
    theirs.close()
    begin = time.monotonic()
    with pytest.raises(ChannelClosedError):
        ours.answer(10)
    assert time.monotonic() - begin < 5


def test_end_that_closes_with_a_request_unread_is_closed(ends):
    """A reset counts as closed too."""
    ours, theirs = ends
    ours.ask("run")
    theirs.close()
    with pytest.raises(ChannelClosedError):
        ours.answer(10)


def test_asking_a_closed_end_says_so(ends):
    """A request to nobody raises, and no signal ends the referee."""
    ours, theirs = ends
    theirs.close()
    with pytest.raises(ChannelClosedError):
        ours.ask("run")


def test_an_end_that_we_closed_says_so_too(ends):
    """Whoever still asks it, or waits for an answer, learns that it is gone."""
    ours, _ = ends
    ours.ask("run")
    assert not ours.closed
    ours.close()
    assert ours.closed
    for _ in range(2):
        with pytest.raises(ChannelClosedError):
            ours.answer(1)
        with pytest.raises(ChannelClosedError):
            ours.ask("run")


def test_descriptors_travel_with_a_request(ends, tmp_path):
    """A descriptor that is sent along opens the same file at the other end."""
    ours, theirs = ends
    worker = Channel(theirs)
    path = tmp_path / "shared"
    path.write_bytes(b"arena")
    with path.open("rb") as first, path.open("rb") as second:
        ours.ask("fork", (first.fileno(), second.fileno()), folder="here")
        request, descriptors = worker.serve()
    assert request == {"command": "fork", "folder": "here"}
    assert len(descriptors) == 2
    for descriptor in descriptors:
        assert os.read(descriptor, 5) == b"arena"
        os.close(descriptor)


def test_descriptors_that_come_with_an_answer_are_not_kept(ends):
    """A worker cannot use up the referee's descriptors by sending it some."""
    ours, theirs = ends
    before = open_descriptors()
    for _ in range(5):
        ours.ask("run")
        (length,) = struct.unpack(">I", theirs.recv(4))
        nonce = json.loads(theirs.recv(length))["nonce"]
        body = frame(json.dumps({"nonce": nonce, "done": True}).encode())
        socket.send_fds(theirs, [body], [theirs.fileno()] * 4)
        assert ours.answer(5) == {"done": True}
    assert open_descriptors() == before


def test_pair_is_private_to_the_two_ends(ends):
    """The socket has no name that another process could connect to."""
    ours, theirs = ends
    assert ours._socket.family == socket.AF_UNIX
    assert theirs.getsockname() == ""
    assert not os.get_inheritable(ours._socket.fileno())


class Impatient:
    """A socket whose limits on time are cut to a tenth of a second."""

    def __init__(self, inner):
        self._inner = inner

    def settimeout(self, seconds):
        """Cut the limit."""
        self._inner.settimeout(min(seconds, 0.1))

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_end_that_does_not_read_times_out(ends):
    """A worker that stops reading does not stop the referee."""
    ours, _ = ends
    ours._socket = Impatient(ours._socket)
    with pytest.raises(ChannelTimeoutError, match="does not read"):
        ours.ask("run", text="x" * (MAX_FRAME_BYTES - 1000))
