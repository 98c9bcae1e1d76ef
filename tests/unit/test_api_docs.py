"""The tables of docs/api.md: made of a small description, and fresh on the page itself."""

from __future__ import annotations

from typing import Any

from scripts.api_docs import PAGE, described, page

INTEGER = {"type": "integer", "description": "How many."}


def body(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"properties": fields, "required": list(fields), "description": "A body."}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "description": f"See {name}."}


def operation(answer: str, **more: object) -> dict[str, Any]:
    content = {"application/json": {"schema": ref(answer)}}
    return {
        "description": "It  does\nthis.",
        "responses": {"200": {"content": content}, "404": {}, "503": {}},
        **more,
    }


def api(schemas: dict[str, Any], **operations: dict[str, Any]) -> dict[str, Any]:
    paths = {f"/{name}": {"get": said} for name, said in operations.items()}
    return {"paths": paths, "components": {"schemas": schemas}}


def made(block: str, said: dict[str, Any]) -> list[str]:
    """The lines of one block, of a page that has text around it."""
    text = f"before\n\n<!-- made by `make docs`: {block} -->\nstale\n<!-- end -->\nafter\n"
    lines = page(text, said).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert page("\n".join(lines), said).splitlines() == lines, "made again it stays as it is"
    return lines[4:-3]


def test_a_call_in_a_line() -> None:
    said = api({"Answer": body(count=INTEGER)}, thing=operation("Answer"))
    assert made("calls", said) == [
        "| call | what it does | body | answer | refused with |",
        "|---|---|---|---|---|",
        "| `GET /thing` | It does this. |  | [Answer](#answer) | 404, 503 |",
    ]


def test_parameters_of_a_query_only() -> None:
    given = [
        {"in": "path", "name": "name"},
        {"in": "query", "name": "wait", "schema": {"type": "number"}, "description": "Seconds."},
    ]
    said = api({"Answer": body(count=INTEGER)}, thing=operation("Answer", parameters=given))
    assert made("parameters", said)[2:] == ["| `GET /thing` | `wait` | number | Seconds. |"]


def test_what_one_body_alone_has_is_told_in_its_table() -> None:
    said = api(
        {
            "Answer": body(
                inner=ref("Inner"),
                several={"type": "array", "items": ref("Inner2"), "description": "Some."},
                shared=ref("Shared"),
            ),
            "Inner": body(count=INTEGER),
            "Inner2": body(shared=ref("Shared")),
            "Shared": body(count=INTEGER),
        },
        thing=operation("Answer"),
    )
    assert made("bodies", said) == [
        "### Answer",
        "",
        "A body.",
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        "| `inner` | object | See Inner. |",
        "| `inner.count` | integer | How many. |",
        "| `several` | list of objects | Some. |",
        "| `several[].shared` | [Shared](#shared) | See Shared. |",
        "| `shared` | [Shared](#shared) | See Shared. |",
        "",
        "### Shared",
        "",
        "A body.",
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        "| `count` | integer | How many. |",
    ]


def test_a_body_that_has_another_and_more_tells_the_more() -> None:
    schemas = {"Answer": body(count=INTEGER), "Longer": body(count=INTEGER, more=INTEGER)}
    said = api(schemas, thing=operation("Answer"), longer=operation("Longer"))
    assert made("bodies", said)[-5:] == [
        "A body. It has all fields of [Answer](#answer), and:",
        "",
        "| field | type | meaning |",
        "|---|---|---|",
        "| `more` | integer | How many. |",
    ]


def test_types_in_words() -> None:
    moment = {"type": "string", "format": "date-time", "description": "When."}
    fields: dict[str, dict[str, Any]] = {
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": ""},
        "word": {"type": "string", "enum": ["a", "b"], "description": ""},
        "one": {"const": "a", "description": ""},
        "time": moment,
        "texts": {"type": "array", "items": {"type": "string"}, "description": ""},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "",
        },
        "seconds": {"type": "number", "default": 60.0, "description": ""},
        "left": INTEGER,
        "any": {"description": ""},
    }
    whole = body(**fields)
    whole["required"].remove("left")
    lines = made("bodies", api({"Answer": whole}, thing=operation("Answer")))[6:]
    assert [line.split(" | ", 2)[1] for line in lines] == [
        "integer or null",
        "`a` \\| `b`",
        "`a`",
        "time",
        "list of strings",
        "strings by name",
        "number, else 60",
        "integer, may be missing",
        "anything",
    ]


def test_the_page_is_fresh() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- made by `make docs`") == 3
    assert page(text, described()) == text, "run `make docs`"
