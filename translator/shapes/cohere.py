"""Cohere's chat, version 2.

Source: Cohere's API reference, "Chat" (v2): `max_tokens`; `usage` in an answer, and in the `delta`
of the stream's last event, `message-end`.
"""

from translator.shapes.contract import Document, Shape, inside, only


def _recognises(path: str, body: Document) -> bool:
    return path.endswith("/v2/chat") and "messages" in body


SHAPE = Shape(
    name="Cohere's chat",
    api="cohere-chat",
    recognises=_recognises,
    cap=lambda body: only([body.get("max_tokens")]),
    choices=lambda _body: 1,
    usage=lambda document: inside(document, "usage") or inside(inside(document, "delta"), "usage"),
    ends=lambda event: event.get("type") == "message-end",
)
