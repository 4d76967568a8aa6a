"""The OpenAPI document as a page can show it: operations by tag, and the schemas they name. Pure."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

_REF = "#/components/schemas/"


class Parameter(NamedTuple):
    name: str
    place: str
    kind: str
    required: bool
    description: str


class Answer(NamedTuple):
    status: str
    description: str
    schema: str
    example: str


class Operation(NamedTuple):
    anchor: str
    method: str
    path: str
    summary: str
    description: str
    role: str
    parameters: tuple[Parameter, ...]
    body: Answer | None
    answers: tuple[Answer, ...]
    errors: tuple[str, ...]


class Group(NamedTuple):
    name: str
    description: str
    operations: tuple[Operation, ...]


class Field(NamedTuple):
    name: str
    kind: str
    required: bool
    description: str


class Schema(NamedTuple):
    name: str
    description: str
    fields: tuple[Field, ...]


class Reference(NamedTuple):
    title: str
    version: str
    description: str
    groups: tuple[Group, ...]
    schemas: tuple[Schema, ...]


def reference(document: dict[str, Any]) -> Reference:
    """Return what the page shows of an OpenAPI 3.1 document."""
    operations = list(_operations(document))
    groups = [
        Group(tag["name"], tag.get("description", ""), tuple(op for name, op in operations if name == tag["name"]))
        for tag in document.get("tags", ())
    ]
    schemas = document.get("components", {}).get("schemas", {})
    info = document["info"]
    return Reference(
        title=info["title"],
        version=info["version"],
        description=info.get("description", ""),
        groups=tuple(group for group in groups if group.operations),
        schemas=tuple(_schema(name, schema) for name, schema in sorted(schemas.items())),
    )


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = [_answer(status, answer) for status, answer in sorted(operation["responses"].items())]
            body = operation.get("requestBody")
            yield (
                operation["tags"][0],
                Operation(
                    anchor=operation.get("operationId") or f"{method}-{path}",
                    method=method.upper(),
                    path=path,
                    summary=operation.get("summary", ""),
                    description=operation.get("description", ""),
                    role=operation.get("x-role", ""),
                    parameters=tuple(_parameter(parameter) for parameter in operation.get("parameters", ())),
                    body=_answer("body", body) if body else None,
                    answers=tuple(answer for answer in answers if answer.status[0] in "123"),
                    errors=tuple(f"{a.status} {a.description}" for a in answers if a.status[0] in "45"),
                ),
            )


def _parameter(parameter: dict[str, Any]) -> Parameter:
    description = parameter.get("description") or ""
    schema = parameter.get("schema", {})
    return Parameter(parameter["name"], parameter["in"], kind_of(schema), bool(parameter.get("required")), description)


def _answer(status: str, answer: dict[str, Any]) -> Answer:
    content = answer.get("content", {})
    media: dict[str, Any] = next(iter(content.values()), {})
    schema = kind_of(media["schema"]) if "schema" in media else ""
    example = json.dumps(media["example"], indent=2, ensure_ascii=False) if "example" in media else ""
    return Answer(status, answer.get("description", ""), schema, example)


def _schema(name: str, schema: dict[str, Any]) -> Schema:
    required = set(schema.get("required", ()))
    fields = tuple(
        Field(key, kind_of(value), key in required, value.get("description", ""))
        for key, value in schema.get("properties", {}).items()
    )
    description = schema.get("description", "")
    if "enum" in schema:
        description = f"{description} One of {', '.join(map(str, schema['enum']))}.".strip()
    return Schema(name, description, fields)


def kind_of(schema: dict[str, Any]) -> str:  # noqa: PLR0911 one a kind
    """Return a schema's type in one line: `[Job]`, `string | null`, `{string: number}`."""
    choices = next((schema[word] for word in ("anyOf", "oneOf", "allOf") if word in schema), None)
    if choices is not None:
        return " | ".join(dict.fromkeys(kind_of(each) for each in choices))
    match schema:
        case {"$ref": str(ref)}:
            return ref.removeprefix(_REF)
        case {"enum": values}:
            return " | ".join(json.dumps(value) for value in values)
        case {"const": value}:
            return json.dumps(value)
        case {"type": list(kinds)}:
            return " | ".join(kinds)
        case {"type": "array"}:
            return f"[{kind_of(schema.get('items', {}))}]"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"{{string: {kind_of(values)}}}"
        case _:
            return str(schema.get("format") or schema.get("type", "any"))
