"""OpenAI's legacy completions: a prompt, or many at once, and what follows it.

Shapes are those of the API reference (POST /v1/completions); whole answers, streams and errors are
those of chat completions in all that is read of them. What costs: each prompt once, and of each
prompt as many answers as are made, not as are returned: "num_tokens(prompt) + max_tokens *
max(n, best_of)" (OpenAI, "Pricing", of this API). `echo` repeats the prompt and bills nothing more,
`suffix` is read after each prompt.
"""

from collections.abc import Mapping

import msgspec

from gateway.dialects import chat
from gateway.dialects.chat import ChatDialect, include_usage, refuse_fields
from gateway.dialects.contract import CACHE_WRITE_UNSEEN, NOTHING_SAID, Call
from gateway.dialects.jsonbody import boolean, decoded, model_name, parse_object, whole_number
from gateway.dialects.text_inputs import TextInputs, read_inputs
from gateway.errors import InvalidRequest
from pricing import ByteMeasure, Measure, text_tokens_max

OUTPUT_TOKENS_UNSAID = 16
"""`max_tokens` where a request does not have it: the API reference's default, and vLLM's."""

SUFFIX_MARK_TOKENS = 8
"""The marks of a prompt with a suffix: three in the formats of models that fill in the middle
(StarCoder's <fim_prefix>, <fim_suffix>, <fim_middle>)."""

CAP = "max_tokens"
UNPRICED_FIELDS = (chat.UNPRICED_FIELDS - {"best_of"}) | {"prompt_embeds", "service_tier"}
PLAIN_FIELDS = frozenset(
    (
        *("model", "prompt", "suffix", "stream", "stream_options", "n", "best_of", CAP, "echo"),
        *("temperature", "top_p", "stop", "seed", "user", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "logprobs"),
    )
)
# What vLLM, SGLang and others take beside, which adds nothing to a prompt.
KNOWN_FIELDS = frozenset(
    (
        *("top_k", "min_p", "repetition_penalty", "ignore_eos", "min_tokens", "stop_token_ids"),
        *("skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output"),
        *("length_penalty", "early_stopping", "truncate_prompt_tokens", "add_special_tokens"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("structured_outputs", "response_format", "metadata", "priority", "request_id"),
        *("return_token_ids", "return_tokens_as_token_ids", "prompt_cache_key"),
    )
)
_NULL = msgspec.Raw(b"null")
_NOTHING_MADE = b',"max_tokens":0}'
# Without a prompt a model begins a new document: with one token, which is the mark of that.
_NEW_DOCUMENT = TextInputs([], 1, 1)


class CompletionsDialect(ChatDialect):
    """See Dialect."""

    endpoint = "/v1/completions"

    def parse(
        self,
        body: bytes,
        headers: Mapping[bytes, bytes] = NOTHING_SAID,  # noqa: ARG002  # all is in the body
    ) -> Call:
        """See Dialect."""
        fields = parse_object(body)
        rare = fields.keys() - PLAIN_FIELDS
        if rare:
            refuse_fields(fields, rare, UNPRICED_FIELDS)
        stream = boolean(fields, "stream")
        prompts = _prompts(fields)
        candidates = prompts.inputs * _choices(fields)
        tokens_max = _tokens_max(fields, prompts, ByteMeasure)
        is_known = rare <= KNOWN_FIELDS | UNPRICED_FIELDS
        echoes = stream and boolean(fields, "echo")
        return Call(
            model=model_name(fields),
            stream=stream,
            wants_usage=stream and include_usage(fields),
            n=candidates,
            output_cap=_cap(fields),
            fields=fields,
            input_tokens_max=tokens_max,
            unseen_content=not is_known,
            has_tools=False,
            cache_write="none" if is_known else CACHE_WRITE_UNSEEN,
            audio_input=False,
            audio_output=False,
            input_windows=prompts.inputs,
            events_beside=tokens_max * candidates if echoes else 0,
        )

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        return _tokens_max(call.fields, _prompts(call.fields), measure)

    def encode(self, call: Call, model: str) -> bytes:
        """See Dialect. Who wants nothing made gets nothing made, whatever was granted."""
        encoded = super().encode(call, model)
        if decoded(call.fields, CAP) == 0:
            return encoded[:-1] + _NOTHING_MADE
        return encoded

    def with_cap(self, encoded: bytes, cap_field: str, output_tokens: int) -> bytes:
        """See Dialect."""
        if encoded.endswith(_NOTHING_MADE):
            return encoded
        return super().with_cap(encoded, cap_field, output_tokens)


def _prompts(fields: dict[str, msgspec.Raw]) -> TextInputs:
    if fields.get("prompt", _NULL) == _NULL:
        return _NEW_DOCUMENT
    return read_inputs(fields, "prompt")


def _tokens_max(
    fields: dict[str, msgspec.Raw], prompts: TextInputs, measure: type[ByteMeasure] | Measure
) -> int:
    suffix = decoded(fields, "suffix")
    if suffix is None:
        return prompts.tokens_max(measure)
    if not isinstance(suffix, str):
        raise InvalidRequest("suffix is a string", param="suffix")
    # By its bytes under any measure: a count would have to be made once for each prompt.
    marks_and_suffix = SUFFIX_MARK_TOKENS + text_tokens_max(suffix)
    return prompts.tokens_max(measure) + prompts.inputs * marks_and_suffix


def _choices(fields: dict[str, msgspec.Raw]) -> int:
    """Answers that are made of each prompt."""
    best_of = whole_number(fields, "best_of", 1, chat.N_MAX) or 1
    return max(whole_number(fields, "n", 1, chat.N_MAX) or 1, best_of)


def _cap(fields: dict[str, msgspec.Raw]) -> int | None:
    """What each answer can be; null leaves it open, as servers that know of no default read it. Of
    0, which asks for the prompt's own logprobs, vLLM makes 1."""
    if CAP not in fields:
        return OUTPUT_TOKENS_UNSAID
    cap = whole_number(fields, CAP, 0, chat.OUTPUT_TOKENS_MAX)
    return None if cap is None else max(1, cap)
