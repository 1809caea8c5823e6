"""Fixtures of the network."""

from __future__ import annotations

from support.http_server import serve

__all__ = ["serve"]
