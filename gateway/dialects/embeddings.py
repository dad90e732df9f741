"""OpenAI's embeddings: texts in, vectors out.

Shapes are those of the API reference (POST /v1/embeddings). Nothing is produced that costs: a
request costs what it reads, and no cap is written into it. An input that is too long for the model
is refused by some servers, cut off by others, and by others again taken in pieces that are all
billed (vLLM's `enable_chunked_processing`): so the sum of all inputs is what a request can cost,
whatever the model's limit of one is. Answers pass through as they come, base64 or numbers.
"""

from collections.abc import Mapping

import msgspec

from gateway.dialects.chat import REFUSED_FIELDS, ChatDialect, refuse_fields
from gateway.dialects.contract import NOTHING_SAID, Call, Usage
from gateway.dialects.jsonbody import decoded, model_name, parse_object
from gateway.dialects.text_inputs import read_inputs
from gateway.errors import InvalidRequest, NotPriced
from pricing import Measure, UsageInvalid, Used, read_usage, text_tokens_max

ENCODING_FORMATS = ("float", "base64")
INPUT_TYPE_TOKENS = 128
"""Per input, where `input_type` says what it is for: the line that Voyage's and NVIDIA's models put
before it ("Represent the query for retrieving supporting documents: ", Voyage's docs, "Text
embeddings"), by its bytes, twice; a longer type counts by its own."""

# They choose how vectors look, or how much of an input is left out: nothing that adds to the bill.
# Of OpenAI's API reference, and of the servers that speak it: vLLM, NVIDIA NIM, Voyage.
KNOWN_FIELDS = frozenset(
    (
        *("model", "input", "encoding_format", "dimensions", "user"),
        *("truncate_prompt_tokens", "add_special_tokens", "normalize", "priority", "request_id"),
        *("truncate", "truncation", "output_dimension", "output_dtype", "input_type"),
    )
)
NAME_CHARS_MAX = 64
"""Of a field's name that somebody else has chosen, in an error."""
_API = "openai-embeddings"


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    data: msgspec.Raw = msgspec.Raw(b"")
    model: str | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


class EmbeddingsDialect(ChatDialect):
    """See Dialect. Errors and costs look as those of chat completions; nothing is streamed."""

    endpoint = "/v1/embeddings"

    def parse(
        self,
        body: bytes,
        headers: Mapping[bytes, bytes] = NOTHING_SAID,  # noqa: ARG002  # all is in the body
    ) -> Call:
        """See Dialect."""
        fields = parse_object(body)
        _refuse_unknown(fields)
        encoding = decoded(fields, "encoding_format")
        if encoding is not None and encoding not in ENCODING_FORMATS:
            raise InvalidRequest(
                f"encoding_format is {' or '.join(ENCODING_FORMATS)}", param="encoding_format"
            )
        inputs = read_inputs(fields, "input")
        return Call(
            model=model_name(fields),
            stream=False,
            wants_usage=False,
            n=1,
            output_cap=0,
            fields=fields,
            input_tokens_max=inputs.tokens_max() + _typed_tokens(fields, inputs.inputs),
            unseen_content=False,
            has_tools=False,
            cache_write="none",
            audio_input=False,
            audio_output=False,
            input_windows=0,
        )

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        inputs = read_inputs(call.fields, "input")
        return inputs.tokens_max(measure) + _typed_tokens(call.fields, inputs.inputs)

    def encode(self, call: Call, model: str) -> bytes:
        """See Dialect."""
        named = {"model": msgspec.Raw(msgspec.json.encode(model))}
        return msgspec.json.encode(call.fields | named)

    def with_cap(self, encoded: bytes, cap_field: str, output_tokens: int) -> bytes:  # noqa: ARG002  # none
        """See Dialect: nothing is produced, so there is nothing to cap."""
        return encoded

    def usage(self, body: bytes, biller: str) -> tuple[Usage, bytes]:
        """See Dialect."""
        try:
            answer = _answer_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Usage(None), b""
        raw = bytes(answer.usage)
        if not raw and not bytes(answer.data) and bytes(answer.error) not in (b"", b"null"):
            return Usage(None, is_error=True), raw
        used = _used(raw, biller)
        if used is None:
            return Usage(None, answer.model or ""), raw
        return Usage(used.meters, answer.model or "", facts=used.facts), raw


def _refuse_unknown(fields: dict[str, msgspec.Raw]) -> None:
    """A field that nobody knows may bring input of its own (vLLM's `messages`, pictures), and no
    window bounds that here."""
    rare = fields.keys() - KNOWN_FIELDS
    if not rare:
        return
    refuse_fields(fields, rare & REFUSED_FIELDS)
    for name in sorted(rare):
        if decoded(fields, name) is not None:
            shown = name[:NAME_CHARS_MAX]
            raise NotPriced(
                f"{shown} may bring input that has no bound here: remove it; known are "
                f"{', '.join(sorted(KNOWN_FIELDS))}",
                param=shown,
            )


def _typed_tokens(fields: dict[str, msgspec.Raw], inputs: int) -> int:
    """Of a type that the server has words for, or that it puts before each input as it stands."""
    kind = decoded(fields, "input_type")
    if kind is None:
        return 0
    if not isinstance(kind, str):
        raise InvalidRequest("input_type is a text", param="input_type")
    return inputs * max(INPUT_TYPE_TOKENS, text_tokens_max(kind))


def _used(raw: bytes, biller: str) -> Used | None:
    """None where the usage is absent or not believable."""
    if not raw.startswith(b"{"):
        return None
    try:
        return read_usage(biller, msgspec.json.decode(raw), api=_API)
    except (UsageInvalid, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
