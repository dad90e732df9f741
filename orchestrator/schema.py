"""The JSON Schema of a definition, for editors and for whoever writes one by program."""

from typing import Any

from orchestrator.definition import Workflow
from orchestrator.kinds import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """As people write it: a step names its kind by a field, and short forms are allowed."""
    schema = _closed(Workflow.model_json_schema())
    parts = schema["$defs"]
    for part in ("Retries", "Foreach", "Until"):
        parts[part] = _or_short(parts[part])
    step = parts["Step"]
    del step["properties"]["action"]
    step["required"] = [each for each in step["required"] if each != "action"]
    step["oneOf"] = [{"required": [kind]} for kind in KINDS]
    for kind, model in KINDS.items():
        fields = parts.pop(model.__name__)
        del fields["properties"]["kind"]
        fields["required"] = [each for each in fields.get("required", ()) if each != "kind"]
        step["properties"][kind] = _or_short(fields, model.short)
    return {"$schema": DIALECT, **schema}


def _closed(part: Any) -> Any:
    """No other names where names have a pattern: pydantic refuses them, and does not say so."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(each) for name, each in part.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in part else closed


def _or_short(fields: dict[str, Any], short: str = "") -> dict[str, Any]:
    """The mapping, or the value that stands for its first field."""
    name = short or next(iter(fields["properties"]))
    return {"anyOf": [fields["properties"][name], fields]}
