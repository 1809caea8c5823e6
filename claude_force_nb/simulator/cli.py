"""``claude-force-nb simulator``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from dataclasses import fields

from .options import SimulatorOptions

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the simulator to `parser`."""
    parser.description = (
        "A Messages API on this machine, with simulated answers: for trying a notebook without a key and without "
        "spending, and for tests. It listens on loopback only, until Ctrl-C."
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    add("--port", type=int, default=0, help="0, the default, picks a free one")
    add(
        "--latency", "--latency-seconds", dest="latency_seconds", type=float, default=0.0, metavar="SECONDS",
        help="wait before the first byte of an answer (default: %(default)s)",
    )  # fmt: skip
    add("--tokens-per-second", type=float, metavar="N", help="speed of a stream (default: no waiting)")
    add(
        "--rpm", "--requests-per-minute", dest="requests_per_minute", type=int, metavar="N",
        help="requests a minute of each model family (default: no limit, and no headers about it)",
    )  # fmt: skip
    add("--itpm", "--input-tokens-per-minute", dest="input_tokens_per_minute", type=int, metavar="N",
        help="input tokens a minute")  # fmt: skip
    add("--otpm", "--output-tokens-per-minute", dest="output_tokens_per_minute", type=int, metavar="N",
        help="output tokens a minute")  # fmt: skip
    add(
        "--burst", "--burst-seconds", dest="burst_seconds", type=float, default=60.0, metavar="SECONDS",
        help="how many seconds' worth of these may be used at once (default: %(default)s)",
    )  # fmt: skip
    add("--context-window", type=int, metavar="TOKENS", help="longest prompt (default: each model's own)")
    add("--accept-any-model", action="store_true", help="answer for unknown model names too")
    add(
        "--extra-models", nargs="*", default=(), metavar="MODEL",
        help="answer for these names too, such as models that were retired",
    )  # fmt: skip
    add(
        "--new-account",
        action="store_true",
        help="as for a new account, refuse thinking that is sent back in another conversation",
    )
    add("--answer-bytes", type=int, metavar="N", help="fixed size of an answer, for load tests")
    add(
        "--batch-seconds", type=float, default=0.5, metavar="SECONDS",
        help="how long a message batch takes (default: %(default)s)",
    )  # fmt: skip
    add(
        "--log-size",
        type=int,
        default=1000,
        metavar="N",
        help="how many of the last requests are kept (default: %(default)s)",
    )
    add("--retry-after-grace-seconds", type=float, default=0.05, help=argparse.SUPPRESS)
    # Otherwise a child process would run forever after its parent is killed.
    add("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)


def _when_stdin_closes(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    sys.stdin.read()
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:
        pass


async def _serve(options: SimulatorOptions, *, until_stdin_closes: bool) -> None:
    from .server import Server

    server = Server(options)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    await server.start()
    # Ctrl-C and a notebook's Stop reach every process of the group, but must not end a simulator started by one of them.
    if until_stdin_closes:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM,) if until_stdin_closes else (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except (NotImplementedError, RuntimeError):  # Windows, or not the main thread: KeyboardInterrupt ends the loop
            pass
    if until_stdin_closes:
        threading.Thread(target=_when_stdin_closes, args=(loop, stop), daemon=True).start()
    # The first line is read by SimulatorProcess.
    print("export ANTHROPIC_BASE_URL=" + server.url)
    print("export ANTHROPIC_API_KEY=simulated", flush=True)
    try:
        await stop.wait()
    finally:
        await server.stop()
        print(server.book.snapshot(), flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C, SIGTERM or, if requested, the end of standard input; return the exit status."""
    try:
        options = SimulatorOptions(**{field.name: getattr(arguments, field.name) for field in fields(SimulatorOptions)})
        asyncio.run(_serve(options, until_stdin_closes=arguments.until_stdin_closes))
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0
