"""The state of a Redis server, for a report."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .notices import Notices
from .redis_connection import RedisConnection, reason_of

__all__ = ["RedisState", "look_at_redis"]


@dataclass(frozen=True)
class RedisState:
    """The state of a Redis server at one moment.

    Attributes
    ----------
    name : str
        Its address, without password.
    fault : str
        Why it cannot be used; "" if it can.
    version : str
        Name and version, such as ``Redis 7.0.15``; "" if unknown.
    policy : str
        ``maxmemory-policy``: what the server does when it is full; "" if unknown.
    """

    name: str
    fault: str = ""
    version: str = ""
    policy: str = ""

    @property
    def evicts(self) -> bool:
        """False if the server is known to store nothing new once it is full."""
        return self.policy != "noeviction"


def look_at_redis(url: str) -> RedisState:
    """Ask a server for its state; takes a few seconds at most.

    Raises
    ------
    OptionError
        See `RedisConnection`.
    """
    connection = RedisConnection(url, Notices())
    redis: Any = import_module("redis")
    try:
        connection.ping()
        try:
            said = connection.info()
        except redis.RedisError:  # the user may not be allowed to ask
            return RedisState(connection.name)
        program = "Valkey" if said.get("server_name") == "valkey" else "Redis"
        version = said.get("valkey_version") or said.get("redis_version") or ""
        policy = str(said.get("maxmemory_policy", ""))
        return RedisState(connection.name, "", f"{program} {version}".strip(), policy)
    # As in `RedisConnection.execute`.
    except (redis.RedisError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        return RedisState(connection.name, reason_of(error))
    finally:
        connection.close()
