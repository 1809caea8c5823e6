"""Convert Python values for a prompt: to text, an image or a document.

This imports no library that the user has not imported: tables, figures and images are recognised by the module of their
type.
"""

from __future__ import annotations

import ast
import os
import sys
from decimal import Decimal
from enum import Enum
from io import BytesIO
from textwrap import dedent
from typing import Any, Iterator, List, Optional, Union

from claude_force_nb.errors import AttachmentError, TemplateError
from claude_force_nb.storage.regular_file import open_regular, project_of

from .attachments import MAX_REQUEST_BYTES, Attachment, attachment
from .plain import is_missing, literal, scalar
from .tables import is_table, table_text, without_tables

__all__ = ["NamedText", "file", "insertable", "source_of"]


# Types that are converted with `str()`.
_WRITTEN = {int, float, bool, type(None), list, dict, tuple, set, frozenset}


class NamedText(str):
    """The text of a file, with the file's name."""

    name: str = ""


def insertable(value: Any) -> Union[str, Attachment]:
    """Return the form of a value in a prompt.

    Text stays unchanged, numbers and paths become text, dates and times ISO 8601, and an Enum member its value. A table
    becomes CSV with its shape, a function, class or module its source, and a figure or image an image block. A record
    is written as a dict; for everything else, ``str(value)`` is used.

    Raises
    ------
    AttachmentError
        If an image cannot be sent.
    TemplateError
        If the source of a function, class or module cannot be found.
    """
    kind = type(value)
    if isinstance(value, (str, Attachment)) and not isinstance(value, Enum):
        return value
    if kind in _WRITTEN:
        return str(literal(without_tables(value)))
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)  # keeps all digits
    if isinstance(value, (bytes, bytearray)):
        return _bytes_text(bytes(value))
    if is_missing(value):
        return str(value)
    single = scalar(value)
    if isinstance(single, (str, int, float)):
        return str(single)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    root = (kind.__module__ or "").partition(".")[0]
    if is_table(value):
        return table_text(value)
    if root in ("matplotlib", "mpl_toolkits", "seaborn"):
        figure = _figure(value)
        if figure is not None:
            return figure
    if root in ("PIL", "IPython"):
        image = _image(value)
        if image is not None:
            return image
    if _has_source(value):
        return source_of(value)
    if root == "numpy" and hasattr(value, "ndim") and value.ndim:
        return _array_text(value)
    return str(literal(value))


def _bytes_text(data: bytes) -> Union[str, Attachment]:
    found = attachment(data, "data") if data else None
    if found is not None:
        return found
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise TemplateError("bytes that are not UTF-8 text, an image or a PDF; decode them first") from None


def file(source: Union[str, os.PathLike[str], bytes, Any], name: Optional[str] = None) -> Union[Attachment, NamedText]:
    """Read a file for a prompt: an image or a PDF as it is, anything else as text.

    Parameters
    ----------
    source : str, path, bytes or binary file
        Path (``~`` is the home directory), or the content itself.
    name : str, optional
        Name in the prompt; by default the file's own name.

    Returns
    -------
    Attachment or NamedText
        The first bytes decide the type, not the name. Text must be UTF-8, or UTF-16 with a byte order mark.

    Raises
    ------
    AttachmentError
        If the file does not exist, cannot be read, is empty, is neither image, PDF nor text, or is too large: see
        `attachments`. A text may have 32 MB, like a request.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), name or "data"
    elif isinstance(source, (str, os.PathLike)):
        path = os.path.expanduser(os.fsdecode(source))
        name, data = name or os.path.basename(path) or path, _read(path)
    elif callable(getattr(source, "read", None)):
        data, name = source.read(MAX_REQUEST_BYTES + 1), name or _base_name(source)
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
    else:
        kind = type(source).__name__
        raise AttachmentError(f"file() takes a path, bytes or an open file, not {kind}; nothing was sent")
    if not data:
        raise AttachmentError(f"{name} is empty; nothing was sent")
    if len(data) > MAX_REQUEST_BYTES:
        raise AttachmentError(f"{name} is larger than the 32 MB that a request takes; nothing was sent")
    found = attachment(data, name)
    if found is not None:
        return found
    text = NamedText(_decoded(data, name))
    text.name = name
    return text


def _base_name(source: Any) -> str:
    name = getattr(source, "name", None)
    return os.path.basename(name) if isinstance(name, str) and name else "data"


def _read(path: str) -> bytes:
    try:
        # Reading a pipe or a device might never end.
        if not os.path.isfile(path):
            reason = "is not a file" if os.path.exists(path) else "does not exist"
            raise AttachmentError(f"file({path!r}) {reason}; nothing was sent{_near(path)}")
        with open_regular(path, within=project_of(path)) as opened:
            return opened.read(MAX_REQUEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AttachmentError(f"file({path!r}) cannot be read: {reason}; nothing was sent") from None


def _near(path: str) -> str:
    from claude_force_nb.vocabulary import did_you_mean

    try:
        return did_you_mean(os.path.basename(path), os.listdir(os.path.dirname(path) or "."))
    except OSError:
        return ""


def _decoded(data: bytes, name: str) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise AttachmentError(
            f"{name} is not a PNG, JPEG, GIF or WebP image, a PDF, or text in UTF-8 or UTF-16; nothing was sent"
        )
    return text


def _figure(value: Any) -> Optional[Attachment]:
    """Draw a matplotlib figure, or the figure that an axes, an artist or a grid belongs to."""
    figure = value
    if not callable(getattr(figure, "savefig", None)) or not hasattr(figure, "get_size_inches"):
        figure = getattr(value, "figure", None)
    if not callable(getattr(figure, "savefig", None)):
        return None
    drawn = BytesIO()
    # Omit the version of matplotlib from the file, so that an upgrade alone does not cause a cache miss.
    figure.savefig(drawn, format="png", bbox_inches="tight", metadata={"Software": None})
    return attachment(drawn.getvalue(), "figure")


def _image(value: Any) -> Optional[Attachment]:
    """Return a PIL image as PNG, or the bytes of an IPython.display.Image."""
    if callable(getattr(value, "save", None)) and hasattr(value, "mode") and hasattr(value, "size"):
        width, height = value.size
        if max(width, height) > 8000:  # refuse it before compressing it for nothing
            raise AttachmentError(
                f"the image is {width} x {height} pixels, but the API takes at most 8000 a side; use .thumbnail((1568, 1568)) first"
            )
        if value.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            value = value.convert("RGB")
        saved = BytesIO()
        value.save(saved, format="PNG")
        return attachment(saved.getvalue(), "image")
    data = getattr(value, "data", None)
    if hasattr(value, "embed") and hasattr(value, "format"):
        if not isinstance(data, bytes):
            message = (
                "the image was made from a URL and has no bytes; use Image(filename=…) or file(…); nothing was sent"
            )
            raise AttachmentError(message)
        found = attachment(data, os.path.basename(getattr(value, "filename", None) or "") or "image")
        if found is None:
            raise AttachmentError("the image is not PNG, JPEG, GIF or WebP; nothing was sent")
        return found
    return None


def _array_text(value: Any) -> str:
    is_small = value.size <= 1000  # numpy's threshold: larger arrays are written with their edges only
    if is_small and value.dtype.kind not in "biufc":
        return str(literal(value))
    with sys.modules["numpy"].printoptions(nanstr="None"):
        text = str(value)
    if is_small:
        return text
    return f"array of shape {value.shape}, {value.dtype}; only its edges are shown\n{text}"


def _has_source(value: Any) -> bool:
    import inspect

    return (
        inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value) or hasattr(value, "__wrapped__")
    )


def source_of(value: Any) -> str:
    """Return the source of a function, class or module, including those defined in a notebook.

    Raises
    ------
    TemplateError
        If the source is not available, as for code written in C.
    """
    import inspect

    inner = inspect.unwrap(value) if callable(value) else value
    try:
        return dedent(inspect.getsource(inner)).rstrip("\n")
    except (OSError, TypeError):
        found = _class_source(inner) if inspect.isclass(inner) else None
    if found is None:
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__name__
        raise TemplateError(f"the source of {name} cannot be found; insert its text")
    return found


def _class_source(kind: type) -> Optional[str]:
    """Find the source of a class in the cells run so far; inspect cannot, since ``__main__`` has no file in a notebook."""
    for lines in _cells_of(kind):
        try:
            tree = ast.parse("".join(lines))
        except (SyntaxError, ValueError):
            continue
        nodes: List[Any] = [tree]
        for name in kind.__qualname__.split("."):
            within = (node for outer in nodes for node in ast.walk(outer))
            nodes = [node for node in within if isinstance(node, ast.ClassDef) and node.name == name]
        if nodes:
            node = nodes[-1]
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return dedent("".join(lines[first - 1 : node.end_lineno])).rstrip("\n")
    return None


def _cells_of(kind: type) -> Iterator[List[str]]:
    """Yield the cells that may define a class, likeliest first: the one with its methods, then the latest."""
    import linecache

    codes = (getattr(member, "__code__", None) for member in vars(kind).values())
    named = [code.co_filename for code in codes if code is not None]
    # Cells are the entries whose names are not those of files. (A lazy entry has only one element.)
    cells = [name for name, entry in list(linecache.cache.items()) if len(entry) > 1 and not os.path.exists(name)]
    main = sys.modules.get(kind.__module__)
    if kind.__module__ == "builtins" or getattr(main, "__file__", None):
        return
    for name in [name for name in named if name in cells] + cells[::-1]:
        lines = linecache.getlines(name)
        if lines:
            yield lines
