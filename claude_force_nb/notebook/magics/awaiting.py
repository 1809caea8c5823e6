"""How a magic runs on the kernel's event loop: awaited where the cell can await, blocking where it cannot, and stoppable."""

from __future__ import annotations

import ast
import asyncio
import re
import signal
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import Any, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, List, Optional, Tuple, TypeVar

from claude_force_nb.errors import RunInterrupted

__all__ = [
    "ASYNC_SUFFIX",
    "SignalWaker",
    "await_magics",
    "ending_on_stop",
    "interruptible",
    "protect_questions",
    "run_blocking",
]

T = TypeVar("T")

ASYNC_SUFFIX = "_async"
# The kernel passes a signal on through two futures before it cancels the cell.
_TURNS_OF_A_STOP = 5
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.GeneratorExp,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
)


class _MagicCalls(ast.NodeVisitor):
    """Finds calls of our magics in a transformed cell, where a top-level ``await`` is allowed."""

    def __init__(self, names: Tuple[str, ...]) -> None:
        self.names = names
        self.found: List[ast.Call] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, _SCOPES):
            return None
        if isinstance(node, ast.Call) and self._is_ours(node):
            self.found.append(node)
        return self.generic_visit(node)

    def _is_ours(self, node: ast.Call) -> bool:
        function = node.func
        return (
            isinstance(function, ast.Attribute)
            and function.attr in ("run_cell_magic", "run_line_magic")
            and isinstance(function.value, ast.Call)
            and isinstance(function.value.func, ast.Name)
            and function.value.func.id == "get_ipython"
            and len(node.args) >= 2
            and all(isinstance(argument, ast.Constant) and isinstance(argument.value, str) for argument in node.args)
            and node.args[0].value in self.names  # type: ignore[attr-defined]
        )


def await_magics(lines: List[str], names: Tuple[str, ...]) -> List[str]:
    """Rewrite top-level calls of the magics in `names` to awaited calls of their awaitable twins.

    Parameters
    ----------
    lines : list of str
        A cell after IPython's own transformations, with line ends.
    names : tuple of str
        Names of magics that have a twin named with `ASYNC_SUFFIX`.

    Returns
    -------
    list of str
        The same number of lines; the very same list where there is nothing to rewrite or the cell is no Python.
    """
    text = "".join(lines)
    if "_magic(" not in text or not any(name in text for name in names):
        return lines
    try:
        tree = compile(text, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return lines
    visitor = _MagicCalls(names)
    visitor.visit(tree)
    # Columns of the syntax tree count bytes; from the last call to the first, so that earlier columns stay true.
    source = [line.encode("utf-8") for line in text.splitlines(keepends=True)]
    for call in sorted(visitor.found, key=lambda call: (call.lineno, call.col_offset), reverse=True):
        if call.lineno != call.end_lineno:
            continue
        line = source[call.lineno - 1]
        source[call.lineno - 1] = line[: call.col_offset] + _awaited(call).encode("utf-8") + line[call.end_col_offset :]
    return b"".join(source).decode("utf-8").splitlines(keepends=True) if visitor.found else lines


def _awaited(call: ast.Call) -> str:
    name, line, *cell = [argument.value for argument in call.args]  # type: ignore[attr-defined]
    kind = "run_cell_magic" if cell else "run_line_magic"
    # IPython refuses a cell magic whose body is "" before the magic could say what is missing; an empty line it lets pass.
    arguments = [name + ASYNC_SUFFIX, line, *(body or "\n" for body in cell)]
    return "(await get_ipython().{}({}))".format(kind, ", ".join(map(repr, arguments)))


_QUESTION = re.compile(r"^([ \t]*(?:[A-Za-z_][^=%#'\"]*=[ \t]*)?)%(\w+)[ \t]+(\S.*\?)[ \t]*(\r?\n?)$")
_TRIPLE = re.compile(r"\"\"\"|'''")


def protect_questions(lines: List[str], names: Tuple[str, ...]) -> List[str]:
    """Turn ``%claude … ?`` into the call of the magic, before IPython takes the question mark for a request for help."""
    if not any("?" in line and "%" in line for line in lines):
        return lines
    protected = []
    quotes = 0
    for line in lines:
        match = _QUESTION.match(line) if quotes % 2 == 0 else None
        if match and match.group(2) in names:
            head, name, text, end = match.groups()
            line = f"{head}get_ipython().run_line_magic({name!r}, {text!r}){end}"
        else:
            quotes += len(_TRIPLE.findall(line))
        protected.append(line)
    return protected


@contextmanager
def _on_sigint(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the loop when SIGINT comes, even if the loop sleeps (the kernel's own handler does not wake it)."""
    try:
        previous = signal.getsignal(signal.SIGINT)
        try:
            loop.add_signal_handler(signal.SIGINT, stop)
            remove: Callable[[], Any] = lambda: loop.remove_signal_handler(signal.SIGINT)  # noqa: E731
        except (NotImplementedError, RuntimeError):  # Windows
            signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(stop))
            remove = lambda: None  # noqa: E731
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    finally:
        remove()
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


async def _stop_came() -> bool:
    """Return whether Stop came since the cell last awaited: the kernel tells it in the next turns of the loop."""
    try:
        for _ in range(_TURNS_OF_A_STOP):
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        return True
    return False


@asynccontextmanager
async def ending_on_stop(line: str) -> AsyncIterator[None]:
    """Let Stop end code of the user's that does not await, which the handler of a cell that awaits waits for.

    Raises
    ------
    RunInterrupted
        With `line`, on SIGINT.
    """
    if await _stop_came():
        raise RunInterrupted(line)
    try:
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not the main thread: signals do not come here
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        raise RunInterrupted(line) from None
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


class SignalWaker:
    """Lets a signal end the event loop's sleep, so that Stop ends any cell that awaits, a plain ``await`` too.

    The kernel's own handler cancels the cell on SIGINT but does not wake the loop (ipython/ipykernel#881): without this, the
    cell goes on until something else happens. No handler is changed; signals are told to a socket that the loop watches.
    """

    def __init__(self) -> None:
        self._sockets: Optional[Tuple[socket.socket, socket.socket]] = None
        self._loop: Optional[asyncio.AbstractEventLoop] = None

    def start(self) -> None:
        """Watch for signals while a cell runs; does nothing where signals do not come, or already wake the loop."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
            read, write = socket.socketpair()
        except (RuntimeError, OSError):
            return
        read.setblocking(False)
        write.setblocking(False)
        self._sockets, self._loop = (read, write), loop
        try:
            loop.add_reader(read, _drain, read)
            previous = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        except (ValueError, NotImplementedError, RuntimeError):  # another thread, or a loop without readers
            self.stop()
            return
        if previous != -1:  # somebody else's, which wakes the loop as well
            signal.set_wakeup_fd(previous)
            self.stop()

    def stop(self) -> None:
        """End the watching; safe to call at any time."""
        if self._sockets is None:
            return
        read, write = self._sockets
        self._sockets = None
        try:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, write.fileno()):
                signal.set_wakeup_fd(current)
        except ValueError:  # not the main thread
            pass
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.remove_reader(read)
        read.close()
        write.close()


def _drain(read: socket.socket) -> None:
    try:
        while read.recv(4096):
            pass
    except BlockingIOError:
        pass


async def interruptible(work: Coroutine[Any, Any, T], describe: Callable[[], str]) -> T:
    """Await `work` so that Stop ends it at once.

    Parameters
    ----------
    work : coroutine
    describe : callable
        Gives the line that says what is done and what to do, asked for after the work has ended.

    Raises
    ------
    RunInterrupted
        On SIGINT, once the work has cleaned up.
    """
    loop = asyncio.get_running_loop()
    if await _stop_came():
        work.close()
        raise RunInterrupted(describe())
    task = loop.create_task(work)
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    with _on_sigint(loop, stop):
        try:
            return await task
        except (asyncio.CancelledError, KeyboardInterrupt):
            if stopped:
                raise RunInterrupted(describe()) from None
            raise


def run_blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run to the end where nobody can await: in a function, or from ``ipython -c``.

    Patches asyncio through nest-asyncio, but only where a loop runs already.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_call(work))
    try:
        import nest_asyncio2 as nest_asyncio  # ipykernel from 7.2 on brings it; the two must not be mixed
    except ImportError:
        import nest_asyncio
    nest_asyncio.apply(loop)
    task = loop.create_task(_call(work))
    try:
        result: T = loop.run_until_complete(task)
    except BaseException:
        # Stop leaves the loop as KeyboardInterrupt does, and would be reported under a later cell as never seen.
        if task.done() and not task.cancelled():
            task.exception()
        raise
    return result


async def _call(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
