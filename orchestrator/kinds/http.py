"""A request to a server of yours, which does the work or calls back when it is done."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from orchestrator.kinds.contract import Kind

URL = r"^https?://.+$"


class Http(Kind):
    """`callback`: the answer only begins the step, and a signed call to an address that the request
    carries ends it."""

    short: ClassVar[str] = "url"
    written_out: ClassVar[frozenset[str]] = frozenset(("method",))
    kind: Literal["http"]
    url: Annotated[str, Field(pattern=URL, max_length=4096)]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = None
    callback: StrictBool = False
