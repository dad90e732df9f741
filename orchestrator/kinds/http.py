"""A request to a server of yours, which does the work or calls back when it is done."""

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from orchestrator.kinds.contract import Answer, Attempt, Kind, StepFailed, Waits

URL = r"^https?://.+$"
SHOWN_CHARS_MAX = 500
PASSING = frozenset((408, 425, 429))
"""Of 4xx: what may be another answer when it is sent again."""


class Http(Kind):
    """`callback`: the answer only begins the step, and a signed call to an address that the request
    carries ends it. `key`: the request carries the attempt's, so that the server asks models
    on this step's budget."""

    short: ClassVar[str] = "url"
    written_out: ClassVar[frozenset[str]] = frozenset(("method",))
    by_value: ClassVar[frozenset[str]] = frozenset(("body",))
    works_elsewhere: ClassVar[bool] = True
    kind: Literal["http"]
    url: Annotated[str, Field(pattern=URL, max_length=4096)]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    callback: StrictBool = False
    key: StrictBool = False

    @property
    def hands_key_on(self) -> bool:
        """See Kind."""
        return self.key

    async def perform(self, attempt: Attempt) -> Any:
        """See Kind: the body of the answer, or what the call back says. A step that waits is asked
        again only when it was called back or its time is over, so nothing is sent twice."""
        if self.callback and attempt.signal is not None:
            return attempt.signal.payload
        if self.callback and attempt.now_ms >= attempt.deadline_ms:
            waited_s = (attempt.deadline_ms - attempt.begun_ms) // 1000
            raise StepFailed(f"nobody called back within {waited_s} s: raise the step's timeout")
        sent = (self.method, self.url, self.headers, self.body)
        answer = await attempt.send(*sent, key=self.key, callback=self.callback)
        _expect_success(answer)
        if self.callback:
            raise Waits(attempt.deadline_ms)
        return answer.body


def _expect_success(answer: Answer) -> None:
    """Raises StepFailed, final where the same request would be answered in the same way."""
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        place = answer.headers.get("location", "another address")
        raise StepFailed(
            f"the server answered {status}: write {place[:SHOWN_CHARS_MAX]} as the url, "
            "requests do not follow",
            is_final=True,
        )
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    again = answer.headers.get("retry-after")
    later = f" (it may be asked again in {again[:32]} s)" if again and again.isdecimal() else ""
    raise StepFailed(
        f"the server answered {status}{later}: {text[:SHOWN_CHARS_MAX]}",
        is_final=400 <= status < 500 and status not in PASSING,
    )
