"""A real Redis server on a free port, started and stopped by a test."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

__all__ = ["PROGRAM", "RedisServer"]

PROGRAM: Optional[str] = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """Runs from `start` to `stop`; what is in it is gone then. With a `certificate` and its key it speaks TLS only."""

    def __init__(self, *options: str, certificate: Optional[Path] = None) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._options = options or ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
        self._certificate = certificate
        self._process: Any = None

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"redis{'' if self._certificate is None else 's'}://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> Any:
        """Return a client of redis-py."""
        import redis

        return redis.Redis(port=self.port, **options)

    def start(self) -> None:
        """Start, and wait until the server answers."""
        assert PROGRAM is not None
        port = ["--port", str(self.port)]
        if self._certificate is not None:
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"]
            for option in ("--tls-cert-file", "--tls-ca-cert-file"):
                port += [option, str(self._certificate)]
            port += ["--tls-key-file", str(self._certificate.with_suffix(".key"))]
        command = [PROGRAM, *port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def stop(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let the server accept connections but answer nothing, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the server continue."""
        self._process.send_signal(signal.SIGCONT)
