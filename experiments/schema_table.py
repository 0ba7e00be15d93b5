"""A JSON schema as a table in Markdown, for those who read and not validate."""

from collections.abc import Iterator
from typing import Any

_HEAD = "| field | type | unit | meaning |\n| --- | --- | --- | --- |"


def schema_table(schema: dict[str, Any]) -> str:
    """All fields of an object, and of the objects and rows in it.

    Args:
        schema: JSON schema of an object, each field with `type` and `description`, and with
            `unit` where it has one.

    Returns:
        A row a field; fields of an object within are written `outer.inner`, those of the rows of
        a list `outer[].inner`.
    """
    return "\n".join([_HEAD, *_rows(schema, "")])


def _rows(schema: dict[str, Any], place: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        yield (
            f"| `{place}{name}` | {_type_of(field)} | {field.get('unit', '')} "
            f"| {field['description']} |"
        )
        if "properties" in field:
            yield from _rows(field, f"{place}{name}.")
        if "properties" in field.get("items", {}):
            yield from _rows(field["items"], f"{place}{name}[].")


def _type_of(field: dict[str, Any]) -> str:
    """Words for what a field may hold."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    types = field.get("type", "any")
    types = [types] if isinstance(types, str) else types
    named = {"array": "two numbers" if field.get("maxItems") == 2 else "list"}
    return " or ".join(named.get(x, x) for x in types)
