"""What a file of this folder provides: how one API says what a request used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pricing.facts import Used
from pricing.usage.counts import Counters, Output


@dataclass(frozen=True, slots=True)
class Api:
    """One API's usage object.

    `name`: as in "openai-chat". `recognises(usage)`: whether an object looks like this API's, for
    callers that do not know which it is. `read(usage, output)`: meters and facts, raises
    UsageInvalid; `output` are the items of the answer, where calls are counted there. `provider`:
    the only one whose objects are recognised, "" for any.
    """

    name: str
    recognises: Callable[[Mapping[str, object]], bool]
    read: Callable[[Counters, Output], Used]
    provider: str = ""
