"""One call of LiteLLM, seen from the network: at most one request may leave for it, only as it was
reserved, and only to where it belongs. What became of that request is known here, whatever LiteLLM
makes of it."""

import logging
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from translator.answers import Answer
from translator.asked import Asked
from translator.errors import Refused
from translator.origins import origin_of
from translator.shapes import shape_of
from translator.texts import texts_tokens

ORIGIN_CHARS_LOGGED = 200
_log = logging.getLogger("comptroller.translator")


class Passage:
    """`refusal`: why something did not leave. `sent`: whether bytes of a request may have left.
    `unreached`: what kept the first one from being sent. `answer`: of the provider, as far as it
    has come. `has_passed`: whether a request was as it should be; of a rehearsal none is
    sent. `origins`: where it may go; None, in a rehearsal: where LiteLLM knows. `origin`: where it
    would have gone, or has."""

    def __init__(
        self,
        asked: Asked,
        name: str,
        origins: frozenset[str] | None,
        *,
        is_rehearsal: bool = False,
    ) -> None:
        self.asked = asked
        self.origin = ""
        self._origins = origins
        self.refusal: Refused | None = None
        self.sent = False
        self.unreached: Exception | None = None
        self.answer: Answer | None = None
        self.has_passed = False
        self.name = name
        self._is_rehearsal = is_rehearsal
        self._requests = 0

    def check(self, method: str, url: httpx.URL, body: bytes) -> Answer:
        """Before anything of it leaves. Gives what will read its answer. Raises Refused."""
        self._requests += 1
        if self._requests > 1 and self.unreached is not None and not self.sent:
            raise Refused("the provider cannot be reached")  # LiteLLM tries a second time
        if self._requests > 1:
            raise self.refuse("LiteLLM would send a second request for one call")
        shape, document = None, _object(body)
        if method == "POST" and document is not None:
            shape = shape_of(url.path, document)
        if shape is None or document is None:
            raise self.refuse(
                "LiteLLM would send a request of a form that is not known here, so that nobody "
                "can say whether its cap is in it"
            )
        asked = self.asked
        cap, choices = shape.cap(document), shape.choices(document)
        if not 1 <= cap <= asked.cap or choices > asked.n:
            raise self.refuse(
                f"what LiteLLM would send has not the cap that was reserved: {choices} x {cap} "
                f"output tokens, not {asked.n} x {asked.cap}"
            )
        tokens = texts_tokens(document, asked.pictures)
        if tokens > asked.tokens_max:
            raise self.refuse(
                f"what LiteLLM would send has more text than was reserved for: {tokens} bytes, "
                f"not {asked.tokens_max}"
            )
        self._check_origin(url)
        self.has_passed = True
        if self._is_rehearsal:
            raise Refused("a rehearsal: nothing is sent")
        streamed = document.get("stream") is True or "stream" in url.path.lower()
        return Answer(shape, streamed=streamed)

    def _check_origin(self, url: httpx.URL) -> None:
        """Else whoever is there would see the key, and what the caller wrote."""
        self.origin = origin_of(url)
        allowed = self._origins
        if allowed is None:
            allowed = frozenset((self.origin,) if url.scheme == "https" else ())
        seen = f" ({self.origin[:ORIGIN_CHARS_LOGGED]})"
        if not allowed:
            raise self.refuse(
                "LiteLLM knows no server of this model that is reached over https: write the one "
                "that is meant into its entry, as api_base",
                seen,
            )
        if self.origin not in allowed:
            raise self.refuse("LiteLLM would send this to another server than its entry's", seen)

    def refuse(self, message: str, seen: str = "") -> Refused:
        """Noted, whatever LiteLLM does with the exception; the first one counts. `seen` is for the
        log alone."""
        _log.error("%s: %s%s; it was not sent", self.name, message, seen)
        refused = Refused(message)
        if self.refusal is None:
            self.refusal = refused
        return refused

    async def traced(self, event: str, info: Mapping[str, Any]) -> None:
        """httpcore tells what it does: see its extension `trace`."""
        del info
        if event.endswith("send_request_headers.started"):
            self.sent = True


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
