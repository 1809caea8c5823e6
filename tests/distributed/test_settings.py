"""Where keys and secrets may be sent, and what shows them."""

from __future__ import annotations

import pytest

from claude_force_nb.distributed.settings import ClusterSettings, RunSetup, check_secrets_may_travel
from claude_force_nb.errors import OptionError

SECRET = "sk-ant-api03-never-to-be-seen"


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tls://10.0.0.1:8786", "inproc://10.0.0.1/1/2", "tcp://localhost:1"],
)
def test_to_this_machine_or_encrypted(address: str) -> None:
    """A key may go where nobody else can read it."""
    check_secrets_may_travel(ClusterSettings(api_key=SECRET, cache_secret=SECRET), [address])


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "ucx://node7:1", "tcp://127.0.0.1.example.com:8786", "ws://host:1", ""]
)
@pytest.mark.parametrize("name", ["api_key", "cache_secret"])
def test_not_in_the_clear(address: str, name: str) -> None:
    """One line names what would be seen and where, and not what it is; without a key of one's own nothing is refused."""
    with pytest.raises(OptionError, match=f"{name} would go to") as raised:
        check_secrets_may_travel(ClusterSettings(**{name: SECRET}), ["tcp://127.0.0.1:1", address])
    assert SECRET not in str(raised.value)
    check_secrets_may_travel(ClusterSettings(), [address])


def test_no_repr_shows_a_secret() -> None:
    """Dask logs plugins and their attributes."""
    settings = ClusterSettings(api_key=SECRET, cache_secret=SECRET)
    setup = RunSetup("run", settings, None, "t", {"body": {"metadata": SECRET}})
    assert SECRET not in repr(settings) + repr(setup) + str(setup)
