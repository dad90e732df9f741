"""OpenAI's chat completions, as Azure, Mistral, Groq, DeepSeek, xAI and many others serve them.

Source: OpenAI's API reference, "Create chat completion", and Azure OpenAI's of that name.
"""

from translator.shapes.contract import Document, Shape, inside, items, only, whole


def _recognises(path: str, body: Document) -> bool:
    return path.endswith("/chat/completions") and "messages" in body


def _cap(body: Document) -> int:
    return only([body.get("max_tokens"), body.get("max_completion_tokens")])


def _ends(event: Document) -> bool:
    return any(each.get("finish_reason") for each in items(event.get("choices")))


SHAPE = Shape(
    name="OpenAI's chat completions",
    api="openai-chat",
    recognises=_recognises,
    cap=_cap,
    choices=lambda body: whole(body.get("n")) or 1,
    usage=lambda document: inside(document, "usage"),
    ends=_ends,
)
