"""Anthropic's messages, as Azure, Vertex AI and Bedrock's InvokeModel serve them too.

Source: Anthropic's API reference, "Messages" and "Streaming messages": `message_start` has the
input's counters, `message_delta` those of the output, cumulative, and the reason why it stopped:
nothing is produced after that.
"""

from translator.shapes.contract import Document, Shape, inside, only

_PATHS = (
    "/messages",
    "/invoke",
    "/invoke-with-response-stream",
    ":rawPredict",
    ":streamRawPredict",
)


def _recognises(path: str, body: Document) -> bool:
    if path.endswith("/v1/messages"):
        return "messages" in body
    return path.endswith(_PATHS) and "anthropic_version" in body and "messages" in body


def _usage(document: Document) -> Document:
    return inside(document, "usage") or inside(inside(document, "message"), "usage")


def _ends(event: Document) -> bool:
    return event.get("type") == "message_stop" or bool(inside(event, "delta").get("stop_reason"))


SHAPE = Shape(
    name="Anthropic's messages",
    api="anthropic-messages",
    recognises=_recognises,
    cap=lambda body: only([body.get("max_tokens")]),
    choices=lambda _body: 1,
    usage=_usage,
    ends=_ends,
)
