"""The page at /docs: what OpenAPI says of the control API, for people, without a script. Pure.

FastAPI's own page has the browser load and run scripts of a foreign host, which may then do with the API whatever the
reader may. Tools that try calls out take /openapi.json.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final, TypeAlias

# A piece of OpenAPI: JSON of whatever shape.
Schema: TypeAlias = Mapping[str, Any]

_REF: Final = "#/components/schemas/"
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h2 { border-bottom: 1px solid #8885; margin-top: 2.5rem; }
h3, code { font-family: ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8883; padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
details { margin: .25rem 0 .75rem; }
:root { color-scheme: light dark; }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# What the page needs, which is its style alone.
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(api: Schema) -> str:
    """The whole page in HTML."""
    info = api["info"]
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info['description'])} For programs: "
            '<a href="/openapi.json">openapi.json</a>.</p>',
            "<h2>Calls</h2>",
            *(
                "\n".join(_call(f"{method.upper()} {path}", operation))
                for path, methods in api["paths"].items()
                for method, operation in methods.items()
            ),
            "<h2>Bodies</h2>",
            *("\n".join(_body(*each)) for each in api["components"]["schemas"].items()),
            "</body></html>\n",
        ]
    )


def _call(call: str, operation: Schema) -> Iterator[str]:
    yield f"<h3>{escape(call)}</h3>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    rows = [
        (f"<code>{escape(each['name'])}</code>", _type(each["schema"]), _said(each))
        for each in operation.get("parameters", ())
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append(("body", _type(content["schema"]), escape(kind)))
    if rows:
        yield _table(rows)
    yield "<details><summary>Answers</summary>"
    yield _table([_answer(*each) for each in operation["responses"].items()])
    yield "</details>"


def _answer(status: str, response: Schema) -> tuple[str, str, str]:
    kinds = [_type(each["schema"]) for each in response.get("content", {}).values()]
    return escape(status), " or ".join(kinds), _said(response)


def _body(name: str, schema: Schema) -> Iterator[str]:
    yield f'<h3 id="{escape(name)}">{escape(name)}</h3>'
    yield f"<p>{_said(schema)}</p>"
    yield _table(
        [
            (f"<code>{escape(field)}</code>", _type(value), _said(value))
            for field, value in schema.get("properties", {}).items()
        ]
    )


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_REF))
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    words = [schema["const"]] if "const" in schema else schema.get("enum")
    if words:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in words)
    return escape(str(schema.get("type", "anything")))


def _said(holder: Schema) -> str:
    return escape(holder.get("description", ""))


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
