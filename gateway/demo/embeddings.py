"""The demo model behind embeddings: texts that share words are near each other.

Each word moves the vector by one along an axis that its checksum names, so that a search over a few
documents finds something. No chance, no weights: the same text has the same vector everywhere.
"""

import base64
import math
import zlib
from array import array
from collections import Counter
from typing import Any

import msgspec

from gateway.demo.answer import CHARS_PER_TOKEN

DIMENSIONS = 256
DIMENSIONS_MAX = 1_024
"""A batch of the largest vectors must not hold a worker up."""
_SIGN_BIT = 1 << 31


def embedding_pieces(request: dict[str, Any]) -> list[bytes]:
    """The body: one piece."""
    model = str(request.get("model", ""))
    dimensions = _dimensions(request.get("dimensions"))
    as_base64 = request.get("encoding_format") == "base64"
    inputs = _inputs(request["input"])
    data = []
    for index, each in enumerate(inputs):
        vector = _vector(_words(each), dimensions)
        shown = base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": shown})
    tokens = sum(map(_tokens, inputs))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return [
        msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage}),
    ]


def _dimensions(wanted: object) -> int:
    return wanted if type(wanted) is int and 1 <= wanted <= DIMENSIONS_MAX else DIMENSIONS


def _inputs(given: Any) -> list[Any]:  # one of the four shapes
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _words(given: str | list[int]) -> list[str]:
    return given.casefold().split() if isinstance(given, str) else [str(each) for each in given]


def _tokens(given: str | list[int]) -> int:
    if isinstance(given, str):
        return len(given.encode("utf-8", "surrogatepass")) // CHARS_PER_TOKEN + 1
    return len(given)


def _vector(words: list[str], dimensions: int) -> "array[float]":
    """Of length one, in the 4-byte floats that base64 is of."""
    vector = array("f", bytes(4 * dimensions))
    for word, times in Counter(words).items():
        checksum = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        vector[checksum % dimensions] += -times if checksum & _SIGN_BIT else times
    length = math.sqrt(sum(each * each for each in vector))
    if not length:
        vector[0] = length = 1.0
    return array("f", [each / length for each in vector])
