"""Convert values to plain data, for prompts, JSON and files. Pure, and imports none of the libraries whose values it converts.

Dates and times become ISO 8601, numbers stay numbers, an Enum member becomes its value, and missing values (None, NaN,
NaT, NA) become null.
"""

from __future__ import annotations

import base64
import datetime
import math
import struct
import unicodedata
from decimal import Decimal
from enum import Enum
from typing import Any, Collection, Dict, Iterable, List, Mapping, MappingView, Optional, Sequence

from claude_force_nb.messages.nesting import check_level
from claude_force_nb.messages.text import well_formed

__all__ = [
    "find_name",
    "free_name",
    "is_absent",
    "is_missing",
    "json_data",
    "literal",
    "scalar",
    "shortest",
    "single_precision",
]

_PLAIN = (str, int, float, bool, type(None))
# Types of values that are plain already and contain no other values.
_EXACT = {str, int, bool, type(None)}
# Digits that every JSON parser preserves (IEEE 754 double precision).
_SAFE_DIGITS = 15
# IEEE 754 single precision: numbers from here on are rounded to infinity.
_TOO_LARGE = 3.4028235677973366e38
# The same threshold as numpy: larger arrays are written with their edges only.
_ITEMS_WRITTEN = 1000


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN, or a missing value of pandas or numpy."""
    if value is None:
        return True
    kind = type(value)
    if kind in _EXACT:
        return False
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, Decimal):
        return value.is_nan()
    if kind.__name__ in ("NaTType", "NAType"):
        return True
    if kind.__module__ == "numpy" and kind.__name__ in (
        "datetime64",
        "timedelta64",
        "float16",
        "float32",
        "longdouble",
    ):
        return bool(value != value)
    return False


def is_absent(cell: Any) -> bool:
    """Return whether a cell of a row is empty: a missing value, or only white space."""
    return not cell or cell.isspace() if isinstance(cell, str) else is_missing(cell)


def find_name(known: Collection[Any], name: str) -> Optional[str]:
    """Return the key of a mapping that equals `name`, possibly after Unicode normalisation (NFC)."""
    if name in known:
        return name
    if name.isascii():
        return None
    composed = unicodedata.normalize("NFC", name)
    alike = (each for each in known if isinstance(each, str) and unicodedata.normalize("NFC", each) == composed)
    return next(alike, None)


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken: the same name, or with ``_2``, ``_3`` … appended."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def single_precision(dtypes: Iterable[Any]) -> List[int]:
    """Return the indices of columns with 32-bit floats, for any data frame library."""
    return [place for place, dtype in enumerate(dtypes) if str(dtype).lower() == "float32"]


def shortest(value: Any) -> Any:
    """Round a 32-bit float to the shortest equal decimal: 0.1 instead of 0.10000000149011612."""
    if type(value) is not float or not math.isfinite(value):
        return value
    for digits in range(1, 10):
        rounded = float(f"{value:.{digits}g}")
        if abs(rounded) < _TOO_LARGE and struct.pack("f", rounded) == struct.pack("f", value):
            return rounded
    return value


def scalar(value: Any) -> Any:
    """Convert a single value to a JSON type; return anything else, such as a list, unchanged.

    NumPy numbers become numbers. A Decimal becomes a number if no digit is lost, and text otherwise. Dates and times
    become ISO 8601. An Enum member becomes its value or, if that is not a plain value, its name. Bytes become text or
    Base64. Infinity stays.
    """
    kind = type(value)
    if kind in _EXACT:
        return well_formed(value) if kind is str else value
    if is_missing(value):
        return None
    if isinstance(value, Enum):
        return scalar(value.value) if isinstance(value.value, _PLAIN) else value.name
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return well_formed(str(value))
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _duration(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes_text(bytes(value))
    if (
        kind.__module__ == "numpy"
        and getattr(value, "shape", None) == ()
        and getattr(value.dtype, "names", None) is None
    ):
        return _numpy_scalar(value)
    return value


def _number(value: Decimal) -> Any:
    if not value.is_finite():
        return float(value)
    if value == value.to_integral_value() and value.adjusted() < 300:
        return int(value)
    nearest = float(value)
    return nearest if len(value.as_tuple().digits) <= _SAFE_DIGITS and math.isfinite(nearest) else str(value)


def _duration(value: datetime.timedelta) -> str:
    """Return a duration in ISO 8601, such as ``P1DT2H3M4.5S``, with a leading minus sign if it is negative."""
    sign, rest = ("-", -value) if value.days < 0 else ("", value)
    hours, seconds = divmod(rest.seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    fraction = f".{rest.microseconds:06d}".rstrip("0") if rest.microseconds else ""
    return f"{sign}P{rest.days}DT{hours}H{minutes}M{seconds}{fraction}S"


def _bytes_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii")
    return text


def _numpy_scalar(value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "Mm":
        # Round to microseconds: for nanoseconds, which Python's types cannot represent, numpy would return an integer.
        rounded = value.astype("datetime64[us]" if kind == "M" else "timedelta64[us]")
        if kind == "M" and value.dtype.name.endswith(("[D]", "[W]", "[M]", "[Y]")):
            return str(value)
        if rounded == value and isinstance(rounded.item(), (datetime.date, datetime.timedelta)):
            return scalar(rounded.item())
        return str(value)
    if kind == "f":
        # Use the shortest equal text, so that a 32-bit 0.1 does not become 0.10000000149.
        return float(value) if value.dtype.itemsize == 8 else float(str(value))
    if kind in "SV":
        return _bytes_text(bytes(value))
    return value.item() if kind in "biuU" else str(value)


def json_data(value: Any, depth: int = 0) -> Any:
    """Convert a value recursively to JSON data: dicts with text keys, lists, text, numbers, booleans and None.

    Mappings, dataclasses, pydantic models and named tuples become dicts, sets become sorted lists, and arrays lists.
    Infinity, which JSON does not have, becomes None, and anything else its ``str``. For tables, use
    `tables.read_table`.

    Raises
    ------
    RecursionError
        If the value is nested more than `MOST_DEPTH` levels deep, or contains itself.
    """
    value = scalar(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, _PLAIN):
        return value
    check_level(depth)
    if isinstance(value, Mapping):
        return _mapping(value, depth + 1)
    fields = _fields(value)
    if fields is not None:
        return _mapping(fields, depth + 1)
    items = _items(value)
    if items is not None:
        return [json_data(item, depth + 1) for item in items]
    return well_formed(str(value))


def _mapping(value: Mapping[Any, Any], depth: int) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for key, item in value.items():
        name = key if isinstance(key, str) else _key(key)
        # 1 and "1" are the same key in JSON; rename one, so that neither is lost.
        found[free_name(well_formed(name), found)] = json_data(item, depth)
    return found


def _key(key: Any, depth: int = 0) -> str:
    if isinstance(key, tuple):
        check_level(depth)
        return " / ".join(_key(part, depth + 1) for part in key)
    value = scalar(key)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else "null" if value is None else str(value)


def _fields(value: Any) -> Optional[Mapping[Any, Any]]:
    """Return the fields of a record by name; None if it is not a record."""
    if isinstance(value, type):
        return None
    if callable(getattr(value, "model_dump", None)):
        try:
            found: Mapping[Any, Any] = value.model_dump(mode="json")
        except (TypeError, ValueError):  # pydantic cannot convert the type of a field to JSON
            found = value.model_dump()
        # A root model has a single value, not fields; `_items` handles it.
        return found if isinstance(found, Mapping) else None
    if callable(getattr(value, "_asdict", None)):
        found = value._asdict()
        return found if isinstance(found, Mapping) else None
    for attribute in ("__dataclass_fields__", "__attrs_attrs__"):
        fields = getattr(value, attribute, None)
        if fields is not None:
            names = [each if isinstance(each, str) else each.name for each in fields]
            return {name: getattr(value, name) for name in names}
    if (
        type(value).__module__ == "numpy"
        and getattr(getattr(value, "dtype", None), "names", None)
        and value.shape == ()
    ):
        return {name: value[name] for name in value.dtype.names}
    return None


def _items(value: Any) -> Optional[Sequence[Any]]:
    """Return the items of a list, array, set or similar; None for anything else."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if hasattr(type(value), "model_dump") and isinstance(getattr(value, "root", None), (list, tuple, set)):
        return list(value.root)
    if isinstance(value, (Sequence, MappingView)) or type(value).__name__ == "deque":
        return list(value)
    if getattr(value, "ndim", 0) and hasattr(value, "dtype") and hasattr(value, "__iter__"):
        return list(value)
    return None


def literal(value: Any, depth: int = 0) -> Any:
    """Convert a value recursively to Python's own lists, tuples, sets and dicts of plain values, so that its ``str`` is readable.

    Otherwise ``str([numpy.float64(0.5)])`` would be ``[np.float64(0.5)]``, and an Enum member in a list would appear as
    its repr. Single values are converted by `scalar`, records become dicts, and objects whose class defines ``__str__``
    become that text. For tables, use `tables.without_tables`.

    Raises
    ------
    RecursionError
        See `json_data`.
    """
    kind = type(value)
    if kind is str:
        return well_formed(value)
    if kind in _EXACT or kind is float:
        return None if kind is float and math.isnan(value) else value
    check_level(depth)
    if kind is list or kind is tuple:
        return kind([literal(item, depth + 1) for item in value])
    if isinstance(value, Mapping):
        return _literal_mapping(value, depth + 1)
    if isinstance(value, (set, frozenset)):
        items = [literal(item, depth + 1) for item in value]
        return set(items) if all(map(_is_hashable, items)) else items
    single = scalar(value)
    if isinstance(single, _PLAIN):
        return single
    if isinstance(value, range):
        return value
    if _has_own_text(kind):
        return well_formed(str(value))
    fields = _fields(value)
    if fields is not None:
        return {str(name): literal(item, depth + 1) for name, item in fields.items()}
    if getattr(value, "size", 0) in range(_ITEMS_WRITTEN + 1):
        found = _items(value)
        if found is not None:
            return [literal(item, depth + 1) for item in found]
    return well_formed(str(value)) if _has_text(kind) else value


def _literal_mapping(value: Mapping[Any, Any], depth: int) -> Dict[Any, Any]:
    found: Dict[Any, Any] = {}
    for key, item in value.items():
        name = tuple([literal(part, depth) for part in key]) if isinstance(key, tuple) else literal(key, depth)
        # If an Enum member and its value are both keys, keep the member as it is, so that neither is lost.
        is_free = _is_hashable(name) and name not in found and (name == key or name not in value)
        found[name if is_free else key] = literal(item, depth)
    return found


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _has_text(kind: Any) -> bool:
    """Return whether a class defines ``__str__``."""
    return kind.__str__ is not object.__str__


def _has_own_text(kind: Any) -> bool:
    """Return whether a class defines ``__str__`` itself, rather than inheriting it from a library such as pydantic."""
    modules = (kind.__module__ or "", getattr(kind.__str__, "__module__", None) or "")
    made_by_libraries = any(module.partition(".")[0] in ("pydantic", "numpy", "pandas") for module in modules)
    return _has_text(kind) and not made_by_libraries
