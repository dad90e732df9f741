"""Amazon Bedrock's Converse and ConverseStream.

Source: Amazon Bedrock API reference, `Converse` (`inferenceConfig.maxTokens`), `ConverseStream`
(the `metadata` event is the last, and has the usage).
"""

from translator.shapes.contract import Document, Shape, inside, only


def _recognises(path: str, body: Document) -> bool:
    return path.rpartition("/")[2] in ("converse", "converse-stream") and "messages" in body


def _cap(body: Document) -> int:
    """A model's own fields could hold a second one."""
    beside = inside(body, "additionalModelRequestFields")
    said = [inside(body, "inferenceConfig").get("maxTokens"), beside.get("max_tokens")]
    return only([*said, beside.get("maxTokens")])


SHAPE = Shape(
    name="Bedrock's Converse",
    api="bedrock-converse",
    recognises=_recognises,
    cap=_cap,
    choices=lambda _body: 1,
    usage=lambda document: inside(document, "usage"),
    ends=lambda event: bool(inside(event, "usage")),
)
