"""Servers to which a key may be sent."""

from __future__ import annotations

import pytest

from claude_force_nb.errors import OptionError
from claude_force_nb.notebook.options.addresses import check_address, other_host


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://gateway.example/v1",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://[::1]:8000",
        "http://localhost:1",
    ],
)
def test_encrypted_or_on_this_machine(url: str) -> None:
    """A key goes over https, or stays on this machine."""
    check_address(url, allow_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.example",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://10.0.0.1",
        "http://user:secret@host",
    ],
)
def test_anything_else_needs_a_word(url: str) -> None:
    """One line names the server without its credentials, and the setting that allows it."""
    with pytest.raises(OptionError) as caught:
        check_address(url, allow_http=False)
    assert "allow_http=on" in str(caught.value)
    assert "secret" not in str(caught.value)
    check_address(url, allow_http=True)


def test_whose_answers_are_named() -> None:
    """The official API and this machine are not named, any other host is, without credentials."""
    assert [other_host(url) for url in (None, "https://api.anthropic.com/", "http://127.0.0.1:9")] == ["", "", ""]
    assert other_host("https://user:secret@gateway.example:8443/v1") == "gateway.example:8443"
