"""Google's generateContent, of the Gemini API and of Vertex AI.

Source: Gemini API reference, `GenerationConfig`, `GenerateContentResponse`, `Candidate`. Names of
fields come in camel case and, as JSON of a protocol buffer may, in snake case.
"""

from translator.shapes.contract import Document, Shape, inside, items, only, whole

_CONFIG = ("generationConfig", "generation_config")


def _recognises(path: str, body: Document) -> bool:
    method = path.rpartition(":")[2]
    return method in ("generateContent", "streamGenerateContent") and "contents" in body


def _cap(body: Document) -> int:
    config = inside(body, *_CONFIG)
    return only([config.get("maxOutputTokens"), config.get("max_output_tokens")])


def _choices(body: Document) -> int:
    config = inside(body, *_CONFIG)
    return max(whole(config.get("candidateCount")), whole(config.get("candidate_count")), 1)


def _ends(event: Document) -> bool:
    finished = any(each.get("finishReason") for each in items(event.get("candidates")))
    return finished or bool(inside(event, "promptFeedback").get("blockReason"))


SHAPE = Shape(
    name="Google's generateContent",
    api="google-generate",
    recognises=_recognises,
    cap=_cap,
    choices=_choices,
    usage=lambda document: inside(document, "usageMetadata"),
    ends=_ends,
)
