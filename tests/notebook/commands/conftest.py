"""Fixtures of the commands."""

from __future__ import annotations

from support.ledgers import clock, ledger

__all__ = ["clock", "ledger"]
