"""The schema of summary.json: closed, and with a meaning for each field.

`tests.evaluation_files.check_summary` holds the real summaries of other tests to it.
"""

import jsonschema
import pytest

from experiments.schema_table import schema_table
from tests.evaluation_files import SCHEMA


def _objects(schema):
    """Every object in a schema whose fields are listed."""
    if "properties" in schema:
        yield schema
    inner = [*schema.get("properties", {}).values(), schema.get("items")]
    for each in filter(None, inner):
        yield from _objects(each)


def test_no_field_may_be_missing_or_added():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = list(_objects(SCHEMA))
    assert len(objects) == 5  # The summary, its versions and settings, a task, a criterion.
    for each in objects:
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])


def test_every_field_has_a_meaning_and_every_number_a_unit():
    for each in _objects(SCHEMA):
        for name, field in each["properties"].items():
            assert field["description"].endswith("."), name
            types = field.get("type", [])
            types = {types} if isinstance(types, str) else set(types)
            items = field.get("items", {}).get("type")
            if types & {"number", "integer"} or items == "number":
                assert field["unit"], name


_INNER = {"type": "object", "properties": {"b": {"type": ["number", "null"], "unit": "nats"}}}
_INNER["properties"]["b"]["description"] = "B."


@pytest.mark.parametrize(
    ("field", "rows"),
    [
        ({"enum": ["x", "y"], "type": "string"}, ["| `a` | `x` or `y` |  | A. |"]),
        ({"type": "array", "maxItems": 2}, ["| `a` | two numbers |  | A. |"]),
        (_INNER, ["| `a` | object |  | A. |", "| `a.b` | number or null | nats | B. |"]),
        (
            {"type": "array", "items": _INNER},
            ["| `a` | list |  | A. |", "| `a[].b` | number or null | nats | B. |"],
        ),
        ({}, ["| `a` | any |  | A. |"]),
    ],
)
def test_a_table_has_a_row_a_field(field, rows):
    table = schema_table({"properties": {"a": field | {"description": "A."}}})
    assert table.split("\n")[2:] == rows
