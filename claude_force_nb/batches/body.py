"""The body of the request that creates a message batch, with its exact size in bytes."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from io import BytesIO
from typing import IO, Dict, Iterable, List, Optional, Tuple

from claude_force_nb.errors import OptionError
from claude_force_nb.messages.request import ClaudeRequest

__all__ = ["MOST_BYTES", "MOST_REQUESTS", "BatchBody", "row_bytes"]

# Message Batches documentation, "Batch limitations": 100,000 requests or 256 MB, whichever comes first.
MOST_REQUESTS = 100_000
MOST_BYTES = 256_000_000

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_HEAD, _TAIL = b'{"requests":[', b"]}"


def row_bytes(request: ClaudeRequest) -> bytes:
    """Return a request as an item of a batch; its ``custom_id`` is its fingerprint."""
    return f'{{"custom_id":"{request.fingerprint}","params":{_encode(request.sent_body)}}}'.encode()


class BatchBody:
    """The requests of one message batch, until they are sent.

    Parameters
    ----------
    api_version : str
    betas : tuple of str
        Headers that all requests share.
    most_requests, most_bytes : int
        Maximum size of the batch, >= 1.
    """

    def __init__(
        self,
        api_version: str,
        betas: Tuple[str, ...],
        *,
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.api_version = api_version
        self.betas = betas
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self._rows: Dict[bytes, bytes] = {}
        self._bounds: Dict[bytes, Optional[Decimal]] = {}
        self.size_bytes = len(_HEAD) + len(_TAIL)
        self._body: Optional[bytes] = None
        self._file: Optional[IO[bytes]] = None

    def __len__(self) -> int:
        return len(self._rows)

    def check(self, row: bytes) -> None:
        """Raise OptionError if a row cannot be part of a message batch."""
        size = len(_HEAD) + len(row) + len(_TAIL)
        if size > self._most_bytes:
            raise OptionError(
                f"the request is {size:,} bytes, but a batch takes at most {self._most_bytes:,}; send it without via=batches"
            )

    def fits(self, row: bytes) -> bool:
        """Return whether a row can be added."""
        comma = 1 if self._rows else 0
        return len(self._rows) < self._most_requests and self.size_bytes + comma + len(row) <= self._most_bytes

    def add(self, fingerprint: bytes, row: bytes, bound: Optional[Decimal]) -> None:
        """Add a row that fits, with its maximum cost in US dollars; None if unknown."""
        self.size_bytes += len(row) + (1 if self._rows else 0)
        self._rows[fingerprint] = row
        self._bounds[fingerprint] = bound

    def split(self, fingerprints: Iterable[bytes]) -> BatchBody:
        """Move rows to a body of their own."""
        other = BatchBody(self.api_version, self.betas, most_requests=self._most_requests, most_bytes=self._most_bytes)
        for fingerprint in fingerprints:
            row = self._rows.pop(fingerprint)
            self.size_bytes -= len(row) + (1 if self._rows else 0)
            other.add(fingerprint, row, self._bounds.pop(fingerprint))
        return other

    @property
    def fingerprints(self) -> List[bytes]:
        """Fingerprints of the rows, in the order in which they were added."""
        return list(self._bounds)

    @property
    def bounds(self) -> Optional[Dict[bytes, Decimal]]:
        """Maximum cost of each row in US dollars; None if one is unknown."""
        known = {each: bound for each, bound in self._bounds.items() if bound is not None}
        return known if len(known) == len(self._bounds) else None

    def body(self) -> bytes:
        """Return the body, which has `size_bytes`. The rows are released, so that memory holds only one of the two."""
        if self._file is not None:
            self._file.seek(0)
            self._body = self._file.read()
            self._drop_file()
        if self._body is None:
            body = BytesIO()
            body.write(_HEAD)
            separator = b""
            for fingerprint in list(self._rows):
                body.write(separator)
                body.write(self._rows.pop(fingerprint))
                separator = b","
            body.write(_TAIL)
            self._body = body.getvalue()
        return self._body

    def spill(self) -> None:
        """Move the body to an unnamed temporary file until it is needed; it disappears with this process."""
        body = self.body()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._file.write(body)
        self._body = None

    def clear(self) -> None:
        """Release the memory."""
        self._rows.clear()
        self._body = None
        self._drop_file()

    def _drop_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
