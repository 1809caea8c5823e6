"""The simulator that a session runs for ``base_url=simulator``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from claude_force_nb.errors import ConfigurationError
from claude_force_nb.text_tables import one_line

if TYPE_CHECKING:
    from claude_force_nb.simulator.process import SimulatorProcess

__all__ = ["SIMULATOR_KEY", "SIMULATOR_NAME", "SessionSimulator"]

SIMULATOR_KEY = "any-key-does-for-the-simulator-of-a-session"
"""The key that is sent to the simulator. Keys are removed from answers, so it must not be an ordinary word."""

SIMULATOR_NAME = "http://localhost/simulator"
"""Name of the simulator in requests, whatever its port, so that a notebook's requests are the same in every session."""

# Slow enough to see the answer stream in, as with the real API.
_LATENCY_SECONDS = 0.2
_TOKENS_PER_SECOND = 150.0


class SessionSimulator:
    """A simulator in a process of its own, started when first needed; it ends with the session, or with this process."""

    def __init__(self) -> None:
        self._process: Optional[SimulatorProcess] = None

    @property
    def url(self) -> str:
        """Address of the simulator, which is started if it is not running; starting takes about a second.

        Raises
        ------
        ConfigurationError
            If the simulator cannot be started.
        """
        if self._process is None or not self._process.running:
            self.close()
            from claude_force_nb.simulator.process import SimulatorProcess

            process = SimulatorProcess(latency_seconds=_LATENCY_SECONDS, tokens_per_second=_TOKENS_PER_SECOND)
            try:
                process.start()
            except (OSError, RuntimeError) as error:
                raise ConfigurationError(f"the simulator cannot be started: {one_line(error)}") from None
            self._process = process
        return self._process.url

    def is_at(self, server: str) -> bool:
        """Return whether an address is the simulator's, running or not."""
        return server == SIMULATOR_NAME or (self._process is not None and self._process.url == server)

    def close(self) -> None:
        """Stop the simulator; a later use starts another one."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
