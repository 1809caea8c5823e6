"""The endpoints of message batches. Results are read line by line and never held in memory as a whole."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, AsyncGenerator, Dict, Mapping, Optional, Sequence, Tuple

from claude_force_nb.errors import MalformedAnswerError
from claude_force_nb.messages.request import API_VERSION

from .connections import HttpCall
from .failures import retry_after_seconds
from .reading import SLOWEST, iter_lines
from .transport import ApiTransport

__all__ = ["BatchInfo", "BatchPage", "ApiBatches"]

logger = logging.getLogger("claude_force_nb.api")

_PATH = "/v1/messages/batches"
_BATCH_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}")
# An answer of 300,000 tokens is about a megabyte.
_MOST_LINE_BYTES = 16_000_000
_MOST_SKIPPED_BYTES = 64_000_000
# A batch can have 256 MB, which takes the client time to send and the API time to validate.
_CREATE_SECONDS = 900.0
_CALL_SECONDS = 60.0
# Time limit between two pieces of the results.
_RESULTS_SECONDS = 120.0
# Limits only the rate, since large results may take hours.
_PACE = SLOWEST
# A batch has at most 100,000 requests, with one line of results each.
_MOST_LINES = 200_000
_NO_BATCH = "the API does not show this batch, or its results, to this key; use a key of the workspace that sent it, and check base_url"
_NO_LIST = "the server has no list of batches; check base_url"


@dataclass(frozen=True)
class BatchInfo:
    """The API's description of a batch.

    Attributes
    ----------
    id : str
    ended : bool
        True once results are available.
    created : float
        Unix seconds by the API's clock; 0 if unknown.
    counts : mapping of str to int
        ``processing``, ``succeeded``, ``errored``, ``canceled``, ``expired``; all but the first stay 0 until the end.
    retry_after_seconds : float or None
        How long the API asks us to wait.
    """

    id: str
    ended: bool
    created: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)
    retry_after_seconds: Optional[float] = None

    @property
    def requests(self) -> int:
        """Number of requests in the batch."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class BatchPage:
    """Some batches, newest first.

    Attributes
    ----------
    batches : tuple of BatchInfo
    more : bool
        Whether older ones follow.
    now : float
        Unix seconds by the API's clock, or by this machine's if the answer has no date.
    """

    batches: Tuple[BatchInfo, ...]
    more: bool
    now: float


class ApiBatches:
    """Calls the batch endpoints. Each method makes one call without retries, and raises `ApiError` on any failure.

    Parameters
    ----------
    transport : ApiTransport
        Provides the clients and the key.

    Attributes
    ----------
    server : str
        Address of the server that has the batches.
    """

    def __init__(self, transport: ApiTransport) -> None:
        self._transport = transport
        self.server = transport.base_url

    async def recent(self, *, limit: int, after_id: Optional[str] = None) -> BatchPage:
        """Return the newest `limit` batches (1 to 1000), or the next ones after `after_id`, which are older."""
        query: Dict[str, Any] = {"limit": limit}
        if after_id is not None:
            query["after_id"] = after_id
        body, headers = await self._json("get", _PATH, query=query, not_found=_NO_LIST)
        data = body.get("data")
        if not isinstance(data, list):
            raise MalformedAnswerError("the server's list of batches cannot be read; check base_url", status=200)
        batches = tuple(_info(item, {}) for item in data)
        return BatchPage(batches, body.get("has_more") is True and bool(batches), _date(headers.get("date")))

    async def create(self, body: bytes, *, api_version: str, betas: Sequence[str]) -> BatchInfo:
        """Create a batch. Not idempotent: if the answer is lost, the batch may exist nevertheless."""
        return _info(*await self._json("post", _PATH, body, api_version=api_version, betas=betas))

    async def retrieve(self, batch_id: str) -> BatchInfo:
        """Return the current state of a batch."""
        return _info(*await self._json("get", _path(batch_id), not_found=_NO_BATCH))

    async def cancel(self, batch_id: str) -> BatchInfo:
        """Ask the API to cancel a batch; requests that are answered before it stops are billed and have results."""
        return _info(*await self._json("post", f"{_path(batch_id)}/cancel", b"{}", not_found=_NO_BATCH))

    async def results(self, batch_id: str) -> AsyncGenerator[bytes, None]:
        """Yield the results of a batch that has ended, each as one line of JSON, in the order received.

        Lines of more than 16 MB are skipped.

        Raises
        ------
        CallTimeoutError
            If the server sends less than 10,000 bytes in two minutes of waiting.
        MalformedAnswerError
            If there are more than 200,000 lines, twice as many as a batch can have requests.
        """
        headers = {"anthropic-version": API_VERSION}
        call = HttpCall("get", f"{_path(batch_id)}/results", headers, _RESULTS_SECONDS, not_found=_NO_BATCH)
        async with self._transport.response(call) as response:
            lines = iter_lines(response, _MOST_LINE_BYTES, _MOST_SKIPPED_BYTES, _PACE)
            seen = 0
            try:
                async for line in lines:
                    seen += 1
                    if seen > _MOST_LINES:
                        raise MalformedAnswerError(f"the results have more than {_MOST_LINES:,} lines", status=200)
                    if line is None:
                        logger.warning("batch %s: a line of its results is too long and was skipped", batch_id)
                    elif line.strip():
                        yield line
            finally:
                await lines.aclose()

    async def _json(
        self,
        method: str,
        path: str,
        body: Optional[bytes] = None,
        *,
        query: Optional[Mapping[str, Any]] = None,
        api_version: str = API_VERSION,
        betas: Sequence[str] = (),
        not_found: str = "",
    ) -> Tuple[Dict[str, Any], Dict[str, str]]:
        seconds = _CALL_SECONDS if query is not None or not body or len(body) < 1000 else _CREATE_SECONDS
        headers = {"anthropic-version": api_version}
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        call = HttpCall(method, path, headers, seconds, body, query or {}, not_found)
        async with self._transport.response(call) as response:
            decoded = await self._transport.read_json(response, pace=_PACE)
            if not isinstance(decoded, dict):
                raise MalformedAnswerError(
                    "the server answered with something that is not a batch; check base_url", status=200
                )
            return decoded, self._transport.headers_of(response)


def _path(batch_id: str) -> str:
    """Return the path of a batch; raises MalformedAnswerError for an id that would lead to another path."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise MalformedAnswerError("the server gave an invalid batch id; check base_url", status=200)
    return f"{_PATH}/{batch_id}"


def _info(body: Any, headers: Mapping[str, str]) -> BatchInfo:
    counts = body.get("request_counts") if isinstance(body, dict) else None
    batch_id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(counts, dict) or not isinstance(batch_id, str) or not _BATCH_ID.fullmatch(batch_id):
        raise MalformedAnswerError("the server answered with something that is not a batch; check base_url", status=200)
    return BatchInfo(
        id=batch_id,
        ended=body.get("processing_status") == "ended",
        created=_moment(body.get("created_at")),
        counts={str(name): value for name, value in counts.items() if type(value) is int and value >= 0},
        retry_after_seconds=retry_after_seconds(headers, now=time.time()),
    )


def _moment(text: Any) -> float:
    """Return an RFC 3339 date as Unix seconds, 0 if it is not valid."""
    try:
        # The API's times are in UTC. Python before 3.11 cannot parse "Z", and whole seconds are exact enough.
        return datetime.fromisoformat(str(text)[:19] + "+00:00").timestamp()
    except ValueError:
        return 0.0


def _date(text: Optional[str]) -> float:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (TypeError, ValueError, IndexError):
        return time.time()
