"""GET /docs: the OpenAPI document as one plain page.

Not the framework's page: that one runs scripts of another site in the page where people would type
their admin token.
"""

from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse

_STYLE = (
    "body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h2{font:600 1rem ui-monospace,monospace;margin:2rem 0 .2rem}table{border-collapse:collapse}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}td:first-child{font-family:ui-monospace}"
)


def add_routes(app: FastAPI) -> None:
    """GET /docs."""

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    async def docs() -> str:
        """All calls."""
        return _page(app.openapi())


def _page(document: dict[str, Any]) -> str:
    calls = [
        _call(method, path, call, document["components"]["schemas"])
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(document['info']['description'])}</p>"
        f"<p><a href=/openapi.json>openapi.json</a></p>{''.join(calls)}</html>"
    )


def _call(method: str, path: str, call: dict[str, Any], schemas: dict[str, Any]) -> str:
    rows = [
        (f"{each['name']} ({each['in']})", each["schema"], each.get("required", False))
        for each in call.get("parameters", ())
    ]
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = _resolved(body.get("schema", {}), schemas)
    needed = schema.get("required", ())
    rows += [(name, each, name in needed) for name, each in schema.get("properties", {}).items()]
    table = "".join(
        f"<tr><td>{escape(name)}<td>{escape(_kind(each))}<td>{'required' if must else ''}"
        for name, each, must in rows
    )
    about = escape(call.get("description", ""))
    return f"<h2>{method.upper()} {escape(path)}</h2><p>{about}</p><table>{table}</table>"


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    for each in (schema, *schema.get("anyOf", ())):
        if "$ref" in each:
            found: dict[str, Any] = schemas[each["$ref"].rpartition("/")[2]]
            return found
    return schema


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kinds = [each.get("type", "") for each in schema.get("anyOf", [schema])]
    return " or ".join(kind for kind in kinds if kind)
