"""Addresses that a server ends a step by: for who sends them, and for who is called. Pure."""

import hmac
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from orchestrator.places import AttemptPlace, TaskId

PATH = "/v1/callbacks/"
SIGNATURE_HEX = 40
_PARTS = 5
_NUMBER_CHARS_MAX = 9


class Called(NamedTuple):
    """The attempt that an address is of."""

    run: str
    task: TaskId
    attempt: int


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Addresses that a server ends a step by: `url` is where they are answered; only who was sent
    one knows it."""

    url: str
    secret: bytes = field(repr=False)

    def address(self, place: AttemptPlace) -> str:
        """Of one attempt."""
        task = place.task
        path = f"{place.run.id}/{task.step}/{task.entry}/{place.number}"
        return f"{self.url}{PATH}{path}/{self.signature(path)}"

    def signature(self, path: str) -> str:
        """Of the part of the address before it."""
        digest = hmac.digest(self.secret, path.encode("utf-8", "surrogatepass"), sha256)
        return digest.hex()[:SIGNATURE_HEX]

    def called(self, path: str) -> Called | None:
        """The attempt that a path of ours (`/v1/callbacks/...`) is of; None where it is not as we
        have written it. How much of a signature is right takes no time to tell."""
        said, _, signature = path.removeprefix(PATH).rpartition("/")
        expected = self.signature(said).encode()
        if not hmac.compare_digest(expected, signature.encode("utf-8", "surrogatepass")):
            return None
        parts = said.split("/")
        if len(parts) != _PARTS - 1 or not all(map(_is_number, parts[2:])):
            return None
        run, step, entry, attempt = parts
        return Called(run, TaskId(step, int(entry)), int(attempt))


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isdecimal() and digits.isascii() and len(digits) <= _NUMBER_CHARS_MAX
