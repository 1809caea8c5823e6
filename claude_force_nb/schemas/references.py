"""Resolve the references of a JSON schema: by pointer, percent-encoded or not, by anchor, or by the schema's own URI. Pure.

Nothing is ever fetched: a reference to anything outside the schema is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, Tuple

from claude_force_nb.errors import OptionError

if TYPE_CHECKING:
    from referencing import Registry

__all__ = ["DATA_KEYWORDS", "NAMED_KEYWORDS", "ReferenceResolver", "check_references", "registry_of"]

DATA_KEYWORDS = frozenset(["const", "default", "enum", "examples", "required"])
"""Keywords whose value is data or names and never contains a schema."""

NAMED_KEYWORDS = frozenset(["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"])
"""Keywords whose value maps names to schemas."""

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def _specification(schema: Mapping[str, Any]) -> Any:
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = schema.get("$schema")
    return specification_with(dialect, default=DRAFT202012) if isinstance(dialect, str) else DRAFT202012


def registry_of(schema: Mapping[str, Any]) -> Registry[Any]:
    """Return a registry that contains the schema and no other document."""
    from referencing import Registry

    resource = _specification(schema).create_resource(schema)
    registry: Registry[Any] = Registry().with_resource(resource.id() or "", resource).crawl()
    return registry


class ReferenceResolver:
    """Resolves references relative to one part of a schema.

    Parameters
    ----------
    schema : mapping
        The whole schema.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._specification = _specification(schema)
        resource = self._specification.create_resource(schema)
        self._resolver: Any = registry_of(schema).resolver(resource.id() or "")

    def _at(self, resolver: Any) -> ReferenceResolver:
        other = object.__new__(ReferenceResolver)
        other._specification, other._resolver = self._specification, resolver
        return other

    def inside(self, part: Mapping[str, Any]) -> ReferenceResolver:
        """Return the resolver for the content of a part, which may have its own ``$id``."""
        if not isinstance(part.get("$id"), str) or part["$id"].startswith("#"):
            return self
        return self._at(self._resolver.in_subresource(self._specification.create_resource(part)))

    def lookup(self, reference: str) -> Tuple[Any, ReferenceResolver]:
        """Return the target of a reference, and the resolver for it.

        Raises
        ------
        OptionError
            If the reference points nowhere, or to another document.
        """
        from referencing.exceptions import NoSuchResource, Unresolvable

        try:
            resolved = self._resolver.lookup(reference)
        except (Unresolvable, ValueError, TypeError, LookupError) as error:
            if isinstance(error.__cause__ or error, NoSuchResource) or not reference.startswith("#"):
                raise OptionError(
                    f"schema: $ref {reference!r} points to another document; include its content here"
                ) from None
            raise OptionError(f"schema: {reference!r} leads nowhere") from None
        return resolved.contents, self._at(resolved.resolver)


def check_references(schema: Mapping[str, Any]) -> None:
    """Raise OptionError if a reference points nowhere or to another document."""
    resolver = ReferenceResolver(schema)
    waiting = [(schema, resolver.inside({}))]
    while waiting:
        part, resolver = waiting.pop()
        for name in _REFERENCES:
            reference = part.get(name)
            if isinstance(reference, str):
                resolver.lookup(reference)
        waiting += [(below, resolver.inside(below)) for below in _schemas_in(part)]


def _schemas_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for keyword, value in schema.items():
        if keyword in DATA_KEYWORDS:
            continue
        values = value.values() if keyword in NAMED_KEYWORDS and isinstance(value, Mapping) else [value]
        for each in values:
            for part in each if isinstance(each, list) else [each]:
                if isinstance(part, Mapping):
                    yield part
