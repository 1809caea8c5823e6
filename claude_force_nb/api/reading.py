"""Read and decompress the body of an HTTP response, with limits on size, line length and number of events."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import Any, AsyncGenerator, Callable, Iterator, List, NamedTuple, Optional

from claude_force_nb.errors import CallTimeoutError, MalformedAnswerError, StreamCutError
from claude_force_nb.messages.nesting import load_json
from claude_force_nb.vocabulary import counted

__all__ = ["MOST_BODY_BYTES", "SLOWEST", "Head", "Pace", "iter_events", "iter_lines", "read_body", "read_head"]

# The API accepts 32 MB and sends less: an answer of 128,000 tokens is about half a megabyte.
MOST_BODY_BYTES = 32_000_000
# An event usually has a few words; the largest contain the result of a server tool.
_MOST_EVENT_BYTES = 8_000_000
_MOST_EVENTS = 1_000_000
_MOST_STREAM_BYTES = 256_000_000
# Decompress at most this much at once: compressed data can expand a thousandfold.
_PIECE_BYTES = 262_144
# Accept zlib and gzip, distinguished by their headers.
_ANY_FORMAT = 47
_GZIP_MAGIC = b"\x1f\x8b"
# Limit for the members of a gzip body: they may be empty, so that the limit on size does not limit their number.
_MOST_MEMBERS = 100_000
_ENCODINGS = ("gzip", "x-gzip", "deflate")


@dataclass(frozen=True)
class Pace:
    """The slowest acceptable rate of a body without a time limit: at least `least_bytes` per `seconds` of waiting.

    Attributes
    ----------
    least_bytes : int
    seconds : float
        Seconds of waiting; the time to process the bytes does not count.
    """

    least_bytes: int
    seconds: float


SLOWEST = Pace(least_bytes=10_000, seconds=120.0)
"""For a body that the server has complete when it sends the headers: no working connection is slower."""


async def _paced(
    pieces: AsyncGenerator[bytes, None], pace: Pace, clock: Callable[[], float] = time.monotonic
) -> AsyncGenerator[bytes, None]:
    """Yield the pieces; raise CallTimeoutError if they arrive more slowly than `pace`."""
    size, waited = 0, 0.0
    since = clock()
    try:
        async for piece in pieces:
            waited += clock() - since
            size += len(piece)
            if waited >= pace.seconds:
                if size < pace.least_bytes:
                    raise CallTimeoutError(
                        f"the server sent {counted(size, 'byte')} in {waited:.0f} s, which is too slow to finish; try again later"
                    )
                size, waited = 0, 0.0
            yield piece
            since = clock()
    finally:
        await pieces.aclose()


async def iter_pieces(response: Any) -> AsyncGenerator[bytes, None]:
    """Yield the decompressed body of a response in pieces of limited size.

    Raises
    ------
    MalformedAnswerError
        If it is compressed in a way that was not requested, or cannot be decompressed.
    StreamCutError
        If it is cut off.
    """
    if response.is_stream_consumed or response.is_closed:
        yield response.content  # the body of an error, which the client has already read
        return
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", *_ENCODINGS):
        raise MalformedAnswerError(
            f"the answer is compressed as {encoding[:40]!r}, which was not requested", status=200
        )
    pieces = response.aiter_raw()
    try:
        if encoding not in _ENCODINGS:
            async for piece in pieces:
                yield piece
            return
        unpacker = _Unpacker()
        async for packed in pieces:
            for piece in unpacker.unpack(packed):
                yield piece
        if not unpacker.is_complete:
            raise StreamCutError("the answer was cut off before its end")
    finally:
        await pieces.aclose()


class _Unpacker:
    """Decompresses a body, which in gzip may consist of several members (RFC 1952, section 2.2).

    Like ``gzip``, it ignores bytes after the last member.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_ANY_FORMAT)
        self._members = 1
        # The first byte of what may be another member, while its second byte has not arrived.
        self._begun = b""
        self._is_over = False

    @property
    def is_complete(self) -> bool:
        """Whether the last member has ended."""
        return self._member.eof

    def unpack(self, packed: bytes) -> Iterator[bytes]:
        """Decompress the next bytes, and yield the result in pieces of limited size."""
        packed, self._begun = self._begun + packed, b""
        while packed:
            if self._member.eof and not self._next_member(packed):
                return
            try:
                piece = self._member.decompress(packed, _PIECE_BYTES)
            except zlib.error:
                raise MalformedAnswerError("the answer cannot be decompressed", status=200) from None
            if piece:
                yield piece
            packed = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def _next_member(self, packed: bytes) -> bool:
        """Begin the next member and return True; if there is none, return False and ignore the rest of the body."""
        if packed == _GZIP_MAGIC[:1] and not self._is_over:
            self._begun = packed
            return False
        if self._is_over or not packed.startswith(_GZIP_MAGIC):
            self._is_over = True
            return False
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise MalformedAnswerError(f"the answer is compressed in more than {_MOST_MEMBERS:,} parts", status=200)
        self._member = zlib.decompressobj(_ANY_FORMAT)
        return True


async def read_body(response: Any, most_bytes: int = MOST_BODY_BYTES, *, pace: Optional[Pace] = None) -> bytes:
    """Return a whole body.

    Raises
    ------
    MalformedAnswerError
        If it is longer than `most_bytes`.
    CallTimeoutError
        If it arrives more slowly than `pace`.
    Exception
        Any exception that `iter_pieces` raises.
    """
    body: List[bytes] = []
    size = 0
    pieces = iter_pieces(response)
    if pace is not None:
        pieces = _paced(pieces, pace)
    try:
        async for piece in pieces:
            size += len(piece)
            if size > most_bytes:
                raise MalformedAnswerError(f"the answer has more than {most_bytes:,} bytes", status=200)
            body.append(piece)
    finally:
        await pieces.aclose()
    return b"".join(body)


class Head(NamedTuple):
    """The first bytes of a body, and whether it was cut off or stalled."""

    body: bytes
    is_cut: bool


async def read_head(response: Any, most_bytes: int) -> Head:
    """Return as many of the first bytes of a body as can be read.

    Errors while reading are ignored, since the status that came before says more.
    """
    body = b""
    is_cut = False
    pieces = _paced(iter_pieces(response), SLOWEST)
    try:
        async for piece in pieces:
            body += piece
            if len(body) >= most_bytes:
                break
    except MalformedAnswerError:
        pass
    except Exception:  # each HTTP library has its own exceptions
        is_cut = True
    finally:
        await pieces.aclose()
    return Head(body[:most_bytes], is_cut)


class _Lines:
    """Joins pieces into lines; the content of a line that is too long is dropped."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: List[bytes] = []
        self._size = 0
        self.skipped_bytes = 0

    def feed(self, piece: bytes) -> Iterator[Optional[bytes]]:
        """Yield the lines that end in `piece`; None for one that is too long."""
        first = True
        for part in piece.split(b"\n"):
            if not first:
                yield self.end()
            first = False
            self._size += len(part)
            if self._size > self._most_bytes:
                self.skipped_bytes += self._size
                self._parts.clear()
            elif part:
                self._parts.append(part)

    def end(self) -> Optional[bytes]:
        """End the current line."""
        line = None if self._size > self._most_bytes else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line


async def iter_lines(
    response: Any, most_bytes: int, most_skipped_bytes: int, pace: Optional[Pace] = None
) -> AsyncGenerator[Optional[bytes], None]:
    """Yield the lines of a body; None for each one longer than `most_bytes`.

    Stop after skipping more than `most_skipped_bytes` of such lines in total.

    Raises
    ------
    CallTimeoutError
        If the body arrives more slowly than `pace`.
    """
    lines = _Lines(most_bytes)
    pieces = iter_pieces(response)
    if pace is not None:
        pieces = _paced(pieces, pace)
    try:
        async for piece in pieces:
            for line in lines.feed(piece):
                yield line
            if lines.skipped_bytes > most_skipped_bytes:
                yield None
                return
        yield lines.end()
    finally:
        await pieces.aclose()


def _is_json(data: bytes) -> bool:
    try:
        load_json(data)
    except ValueError:
        return False
    return True


async def iter_events(response: Any) -> AsyncGenerator[bytes, None]:
    """Yield the data of each server-sent event (WHATWG HTML, "Server-sent events"); the event names only repeat the data.

    Raises
    ------
    MalformedAnswerError
        If an event is longer than 8 MB, or there are more than a million, or more than 256 MB in all.
    """
    data: List[bytes] = []
    size = total = events = 0
    lines = iter_lines(response, _MOST_EVENT_BYTES, 0)
    try:
        async for line in lines:
            if line is None:
                raise MalformedAnswerError(
                    f"an event of the answer has more than {_MOST_EVENT_BYTES:,} bytes", status=200
                )
            size += len(line)
            total += len(line) + 1
            if size > _MOST_EVENT_BYTES or total > _MOST_STREAM_BYTES:
                raise MalformedAnswerError("the streamed answer is longer than any message", status=200)
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                size = 0
                events += 1
                if events > _MOST_EVENTS:
                    raise MalformedAnswerError(f"the answer has more than {_MOST_EVENTS:,} events", status=200)
                if data:
                    yield b"\n".join(data)
                    data.clear()
        # An extension of the standard: some gateways omit the last blank line. An event that was cut off is not valid
        # JSON.
        if data and _is_json(b"\n".join(data)):
            yield b"\n".join(data)
    finally:
        await lines.aclose()
