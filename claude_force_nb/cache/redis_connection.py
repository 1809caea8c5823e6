"""A connection to a Redis server that may be slow, full, locked or gone: it sends pipelines, and pauses after a failure."""

from __future__ import annotations

import time
from importlib import import_module
from importlib.util import find_spec
from threading import Lock
from typing import Any, Callable, List, Mapping, Optional

from claude_force_nb.errors import OptionError

from .addresses import shown_address
from .notices import Notices

__all__ = ["RedisConnection", "reason_of"]

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
# Errors that concern the whole server, not one command: every other command would fail too.
_SERVER_FAULTS = ("NOAUTH", "WRONGPASS", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOPERM", "unknown command")
# Errors of writes only: existing entries can still be read.
_WRITE_FAULTS = ("OOM", "command not allowed when used memory", "MISCONF", "READONLY", "NOREPLICAS")


class RedisConnection:
    """A connection to one server. `execute` raises none of its errors, and warns the user once per problem.

    Parameters
    ----------
    url : str
        ``redis://``, ``rediss://`` (TLS) or ``unix://``, in the form that redis-py takes. A password in it is never
        shown.
    notices : Notices

    Raises
    ------
    OptionError
        If `url` is not such an address, or redis-py is not installed.
    """

    def __init__(self, url: str, notices: Notices) -> None:
        self.name = shown_address(url)
        if find_spec("redis") is None:
            raise OptionError(f"cache_url={self.name} needs redis-py: pip install 'claude_force_nb[redis]'")
        self._url = url
        self._notices = notices
        self._client: Any = None
        self._away_until = float("-inf")
        self._pause = _PAUSE_SECONDS
        self._policy_checked = False
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"RedisConnection({self.name!r})"

    def __reduce__(self) -> str:
        raise TypeError("a connection cannot be pickled")

    def close(self) -> None:
        """Close the connections; the next command opens them again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """Forget the connections, which belong to the parent process, without closing them."""
        self._lock = Lock()
        self._client = None

    def execute(self, fill: Callable[[Any], None], *, insist: bool = False) -> Optional[List[Any]]:
        """Send a pipeline and return an answer or an error for each command; None if the server is unavailable.

        Parameters
        ----------
        fill : callable
            Called with a redis-py pipeline, to add the commands.
        insist : bool
            Whether to try even during the pause after a failure.
        """
        if time.monotonic() < self._away_until and not insist:
            return None
        redis: Any = import_module("redis")
        try:
            pipeline = self._opened().pipeline(transaction=False)
            fill(pipeline)
            answers: List[Any] = pipeline.execute(raise_on_error=False)
        # If the server speaks another protocol, redis-py may raise nearly anything.
        except (redis.RedisError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            self._give_up(reason_of(error))
            return None
        for answer in answers:
            if isinstance(answer, Exception):
                words = str(answer)
                if words.startswith(_SERVER_FAULTS):
                    self._give_up(reason_of(answer))
                    return None
                if words.startswith(_WRITE_FAULTS):
                    self._warn(f"does not accept new answers now ({reason_of(answer)})", "read-only")
        self._pause = _PAUSE_SECONDS
        self._away_until = float("-inf")
        self._check_eviction_policy()
        return answers

    def ping(self) -> None:
        """Ping the server; raises redis-py's errors."""
        self._opened().ping()

    def info(self) -> Mapping[str, Any]:
        """Return the server's answer to ``INFO``; raises redis-py's errors."""
        said: Mapping[str, Any] = self._opened().info()
        return said

    def _opened(self) -> Any:
        redis: Any = import_module("redis")
        with self._lock:
            if self._client is None:
                self._client = redis.Redis.from_url(
                    self._url,
                    decode_responses=False,
                    socket_connect_timeout=_CONNECT_SECONDS,
                    socket_timeout=_ANSWER_SECONDS,
                    socket_keepalive=True,
                )
            return self._client

    def _check_eviction_policy(self) -> None:
        """Warn once if the server never evicts: when it is full, it stores nothing new."""
        if self._policy_checked:
            return
        self._policy_checked = True
        redis: Any = import_module("redis")
        try:
            policy = self._opened().info("memory").get("maxmemory_policy")
        except (redis.RedisError, OSError, ValueError, AttributeError):
            return  # the user may not be allowed to ask
        if policy == "noeviction":
            self._warn(
                "never evicts (maxmemory-policy noeviction): once it is full, it accepts no new answers;"
                " set maxmemory and maxmemory-policy allkeys-lru on the server",
                "policy",
            )

    def _give_up(self, reason: str) -> None:
        self._away_until = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        self._warn(f"cannot be used now ({reason}); continuing without it, and trying again", "away")

    def _warn(self, what: str, topic: str) -> None:
        self._notices.add(f"shared {topic}", f"the shared cache {self.name} {what}")


def reason_of(error: BaseException) -> str:
    """Return the message of an error on one line of at most 120 characters."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 120 else words[:119] + "…"
