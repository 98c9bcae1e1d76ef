"""The page about the API has all that OpenAPI says, runs nothing and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape
from typing import Any

from overbook.scheduler.web.description import POLICY, page

API: dict[str, Any] = {
    "info": {"title": "An <API>", "version": "1", "description": "It does."},
    "paths": {
        "/things/{name}": {
            "post": {
                "description": 'Makes one "thing".',
                "parameters": [
                    {"name": "wait", "schema": {"type": "number"}, "description": "Seconds."}
                ],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/T"}}}
                },
                "responses": {"200": {"description": "Done."}, "404": {"description": "None."}},
            }
        }
    },
    "components": {
        "schemas": {
            "T": {
                "description": "A thing.",
                "properties": {
                    "names": {"type": "array", "items": {"type": "string"}},
                    "kind": {"enum": ["a", "b"]},
                    "one": {"const": "<script>", "description": "</table><script>"},
                    "maybe": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/T"}]},
                    "any": {},
                },
            }
        }
    },
}


def test_all_that_is_said_is_there() -> None:
    text = unescape(re.sub(r"<[^>]*>", " ", page(API)))
    for each in (
        *("POST /things/{name}", 'Makes one "thing".', "wait", "number", "Seconds.", "Done."),
        *("404", "A thing.", "list of string", "a", "b", "null or", "anything", "An <API> 1"),
    ):
        assert each in text, each


def test_nothing_is_run_or_loaded() -> None:
    text = page(API)
    assert "<script" not in text
    assert not re.findall(r"\b(?:src|on\w+|style|action)=", text)
    assert {each for each in re.findall(r'href="([^"]*)"', text) if each[0] != "#"} == {
        "/openapi.json"
    }


def test_its_style_is_the_one_that_browsers_are_told() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page(API), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert "script-src" not in POLICY
    assert POLICY.startswith("default-src 'none';")
