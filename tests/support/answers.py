"""Shared code of the tests of answer files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from claude_force_nb.answers import AnswerFile
from claude_force_nb.answers.keys import AnswerKeys
from claude_force_nb.answers.lines import AnswerLine, make_line
from claude_force_nb.messages.request import ClaudeRequest
from claude_force_nb.messages.result import ClaudeResult
from claude_force_nb.messages.usage import Usage

SECRET = "a secret of the tests, 0123456789"
NOW = 1_790_000_000.0


def question(text: str, *, agent: Any = None, **more: Any) -> ClaudeRequest:
    """Return a small request."""
    body = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}
    return ClaudeRequest(body=body, agent=agent)


def answer(text: str, **more: Any) -> ClaudeResult:
    """Return an answer as a call returns it."""
    return ClaudeResult(
        **{
            "text": text,
            "model": "claude-haiku-4-5",
            "usage": Usage(input_tokens=12, output_tokens=34),
            "stop_reason": "end_turn",
            "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy",
            "call_seconds": 1.25,
            **more,
        }
    )


def opened(path: Path, *, secret: str = "", **options: Any) -> AnswerFile:
    """Return an answer file of a user with this secret, or without one."""
    environ = {"CLAUDE_FORCE_HOME": str(path.parent / "home")}
    if secret:
        environ["CLAUDE_CACHE_SECRET"] = secret
    return AnswerFile(path, environ=environ, clock=lambda: NOW, **options)


def recorded(path: Path, texts: List[str], *, secret: str = "", **options: Any) -> AnswerFile:
    """Return a file with the answers to these questions, written to disk."""
    file = opened(path, secret=secret, **options)
    for text in texts:
        file.put(question(text), answer(f"You asked: {text}"))
    file.save()
    return file


def line_of(request: ClaudeRequest, result: ClaudeResult, keys: AnswerKeys) -> AnswerLine:
    """Return the line of an answer made now."""
    return make_line(request.fingerprint, result, agent=request.agent, request=request, created=NOW, keys=keys)
