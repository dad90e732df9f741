"""The demo models behind legacy completions."""

from typing import Any

import msgspec

from gateway.demo.answer import CHARS_PER_TOKEN, Answer, Asked, answer

WORDS_PER_CHUNK = 4
_CAP = "max_tokens"


def completion_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body, or the events of the stream."""
    prompts = _prompts(request)
    said = [answer(_asked(request, each)) for each in prompts]
    head = {
        "id": "cmpl-demo",
        "object": "text_completion",
        "created": 0,
        "model": str(request.get("model", "")),
    }
    usage = _usage(request, said)
    if not request.get("stream"):
        choices = [
            _choice(index, text, is_whole=each.is_whole)
            for index, (text, each) in enumerate(_texts(request, prompts, said))
        ]
        return [msgspec.json.encode(head | {"choices": choices, "usage": usage})]
    chunks = []
    for index, (text, each) in enumerate(_texts(request, prompts, said)):
        chunks += [head | {"choices": [choice]} for choice in _deltas(index, text, each)]
    if (request.get("stream_options") or {}).get("include_usage"):
        chunks.append(head | {"choices": [], "usage": usage})
    events = [b"data: " + msgspec.json.encode(each) + b"\n\n" for each in chunks]
    return [*events, b"data: [DONE]\n\n"]


def _prompts(request: dict[str, Any]) -> list[Any]:
    """Each a text or a list of tokens."""
    given = request.get("prompt")
    if given is None:
        return [""]
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _asked(request: dict[str, Any], prompt: Any) -> Asked:  # a text or tokens
    is_text = isinstance(prompt, str)
    size = len(prompt.encode("utf-8", "surrogatepass")) if is_text else 0
    return Asked(
        model=str(request.get("model", "")),
        said=prompt if is_text else f"{len(prompt)} tokens",
        prompt_bytes=size if is_text else (len(prompt) - 1) * CHARS_PER_TOKEN,
        cap=request.get(_CAP),
    )


def _texts(
    request: dict[str, Any], prompts: list[Any], said: list[Answer]
) -> list[tuple[str, Answer]]:
    """The text of each choice: `n` of each prompt, with the prompt in front where `echo` is."""
    texts = []
    for prompt, each in zip(prompts, said, strict=True):
        front = prompt if request.get("echo") and isinstance(prompt, str) else ""
        texts += [(front + " ".join(each.words), each)] * (request.get("n") or 1)
    return texts


def _choice(index: int, text: str, *, is_whole: bool | None) -> dict[str, Any]:
    finish = None if is_whole is None else "stop" if is_whole else "length"
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _deltas(index: int, text: str, said: Answer) -> list[dict[str, Any]]:
    words = text.split(" ")
    deltas = []
    for at in range(0, len(words), WORDS_PER_CHUNK):
        piece = " ".join(words[at : at + WORDS_PER_CHUNK])
        deltas.append(_choice(index, (" " if at else "") + piece, is_whole=None))
    return [*deltas, _choice(index, "", is_whole=said.is_whole)]


def _usage(request: dict[str, Any], said: list[Answer]) -> dict[str, int]:
    """Each prompt once, and every answer that was made of it, also those that are not returned."""
    made = max(request.get("n") or 1, request.get("best_of") or 1)
    prompt = sum(each.input_tokens for each in said)
    completion = sum(each.output_tokens for each in said) * made
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
