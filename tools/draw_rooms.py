"""Draws the rooms as an SVG, in layers: each is above those that it imports."""

from __future__ import annotations

from typing import Dict, List, Mapping, Set

__all__ = ["drawing"]

_WIDTH, _BOX_WIDTH, _BOX_HEIGHT, _LAYER_HEIGHT, _MARGIN = 760, 98, 30, 76, 8
# Colours that are legible on light and dark pages.
_STYLE = (
    "rect{fill:#e8eef7;stroke:#5b7aa8;rx:5} text{fill:#1c2733;font:13px sans-serif;text-anchor:middle} "
    "path{fill:none;stroke:#8496ab;stroke-width:1.3}"
)
# More than enough for the order within the layers to settle.
_SWEEPS = 12


def _layers(imports: Mapping[str, Set[str]]) -> List[List[str]]:
    """Return the rooms from the top layer down.

    Each room is one layer above the highest room that it imports; a room without imports is right below the lowest one that
    imports it.
    """
    heights: Dict[str, int] = {}

    def height(room: str) -> int:
        if room not in heights:
            heights[room] = 1 + max((height(below) for below in imports.get(room, ())), default=-1)
        return heights[room]

    rooms = sorted({*imports, *(below for targets in imports.values() for below in targets)})
    highest = max(map(height, rooms))
    for room in rooms:
        if not imports.get(room):
            heights[room] = min(height(above) for above in rooms if room in imports.get(above, ())) - 1
    return [[room for room in rooms if heights[room] == level] for level in reversed(range(highest + 1))]


def _places(imports: Mapping[str, Set[str]]) -> Dict[str, float]:
    """Return the horizontal centre of each room, with connected rooms below each other where space permits."""
    layers = _layers(imports)
    neighbours: Dict[str, Set[str]] = {}
    for room, targets in imports.items():
        for below in targets:
            neighbours.setdefault(room, set()).add(below)
            neighbours.setdefault(below, set()).add(room)
    centres: Dict[str, float] = {}
    for layer in layers:
        for place, room in enumerate(layer):
            centres[room] = (place + 1) * _WIDTH / (len(layer) + 1)
    for _ in range(_SWEEPS):
        for layer in layers:
            wanted = {room: sum(centres[near] for near in neighbours[room]) / len(neighbours[room]) for room in layer}
            layer.sort(key=lambda room: (wanted[room], room))
            for place, room in enumerate(layer):
                before = centres[layer[place - 1]] + _BOX_WIDTH + 2 * _MARGIN if place else 0.0
                centres[room] = max(wanted[room], before)
            shift = sum(wanted[room] - centres[room] for room in layer) / len(layer)
            edge = _MARGIN + _BOX_WIDTH / 2
            shift = min(max(shift, edge - centres[layer[0]]), _WIDTH - edge - centres[layer[-1]])
            for room in layer:
                centres[room] += shift
    return centres


def drawing(imports: Mapping[str, Set[str]]) -> str:
    """Return an SVG of the rooms and their direct imports.

    Parameters
    ----------
    imports : mapping of str to set of str
        Imports by room, without cycles.
    """
    layers, centres = _layers(imports), _places(imports)
    tops = {room: _MARGIN + level * _LAYER_HEIGHT for level, layer in enumerate(layers) for room in layer}
    lines, boxes = [], []
    for room in sorted(tops):
        x, top = centres[room], tops[room]
        boxes.append(f'<rect x="{x - _BOX_WIDTH / 2:.0f}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}"/>')
        boxes.append(f'<text x="{x:.0f}" y="{top + 20}">{room}</text>')
        for below in sorted(imports.get(room, ())):
            start, end = top + _BOX_HEIGHT, tops[below]
            bend = (start + end) / 2
            lines.append(
                f'<path d="M{x:.0f} {start}C{x:.0f} {bend:.0f} {centres[below]:.0f} {bend:.0f} {centres[below]:.0f} {end}"/>'
            )
    height = len(layers) * _LAYER_HEIGHT - (_LAYER_HEIGHT - _BOX_HEIGHT) + 2 * _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    title = "<title>The rooms of claude_force_nb, each above those that it imports</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", *lines, *boxes, "</svg>"]) + "\n"
