"""Variables of a template that come from several mappings."""

from __future__ import annotations

from typing import AbstractSet, Any, Iterator, Mapping

__all__ = ["LayeredVariables"]


class LayeredVariables(Mapping[str, Any]):
    """Several mappings as one: the first that has a name gives its value.

    Unlike `collections.ChainMap` before Python 3.9, listing the names looks up no value: some are computed when they are
    looked up, which may fail.

    Parameters
    ----------
    *layers : mapping
        Not copied.
    hidden : set of str
        Names that count as missing in every layer.
    """

    __slots__ = ("_hidden", "_layers")

    def __init__(self, *layers: Mapping[str, Any], hidden: AbstractSet[str] = frozenset()) -> None:
        self._layers = layers
        self._hidden = hidden

    def __getitem__(self, name: str) -> Any:
        if name not in self._hidden:
            for layer in self._layers:
                try:
                    return layer[name]
                except KeyError:
                    pass
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name not in self._hidden and any(name in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(name for layer in self._layers for name in layer)
        return (name for name in names if name not in self._hidden)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(self._layers)
