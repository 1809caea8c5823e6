"""Pagination of lists, as in the API. Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from .failures import ApiFailure

__all__ = ["page"]

_LARGEST = 1000


def page(items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> Dict[str, Any]:
    """Return the page of `items` (each with an ``id``) selected by ``limit``, ``after_id`` and ``before_id``.

    Raises
    ------
    ApiFailure
        If the limit is outside 1 to 1000, or an id is not in the list.
    """
    try:
        limit = int(query.get("limit", "20"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= _LARGEST:
        raise ApiFailure(400, f"limit: Input should be from 1 to {_LARGEST}")
    places = {item["id"]: place for place, item in enumerate(items)}
    for name in ("after_id", "before_id"):
        if name in query and query[name] not in places:
            raise ApiFailure(400, f"{name}: {query[name]} is not in the list")
    if "before_id" in query:
        end = places[query["before_id"]]
        start = max(0, end - limit)
        more = start > 0
    else:
        start = places[query["after_id"]] + 1 if "after_id" in query else 0
        end = min(len(items), start + limit)
        more = end < len(items)
    data: List[Mapping[str, Any]] = list(items[start:end])
    return {
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
