"""What can go wrong with records, in one tree: callers must know whether a call may have happened.

    RecordsError
    |- EngineBusy         another process owns the folder
    |- StoreUnavailable   no answer: the call may have happened
    `- StoreRefused       the engine or server answered an error (its code, its text)

Codes are ClickHouse's own (its src/Common/ErrorCodes.cpp), and so is the HTTP status of each (its
src/Server/HTTP/exceptionCodeToHTTPStatus.cpp): clients decide by them.
"""

import re
from enum import IntEnum


class Code(IntEnum):
    """The codes that this package raises or looks at; the name is part of the message."""

    CANNOT_PARSE_TEXT = 6
    BAD_ARGUMENTS = 36
    UNKNOWN_FUNCTION = 46
    NOT_IMPLEMENTED = 48
    UNKNOWN_TABLE = 60
    SYNTAX_ERROR = 62
    UNKNOWN_FORMAT = 73
    UNKNOWN_DATABASE = 81
    UNKNOWN_SETTING = 115
    INCORRECT_DATA = 117
    TIMEOUT_EXCEEDED = 159
    READONLY = 164
    NOT_ENOUGH_SPACE = 243
    TOO_DEEP_AST = 167
    REQUIRED_PASSWORD = 194
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    QUERY_IS_TOO_LARGE = 229
    MEMORY_LIMIT_EXCEEDED = 241
    QUERY_WAS_CANCELLED = 394
    TOO_MANY_ROWS_OR_BYTES = 396
    ACCESS_DENIED = 497
    AUTHENTICATION_FAILED = 516
    UNSUPPORTED_MEDIA_TYPE = 748
    STD_EXCEPTION = 1001


_STATUS = {
    400: frozenset({6, 16, 25, 26, 27, 36, 38, 41, 44, 53, 62, 67, 72, 117}),
    401: frozenset({194}),
    403: frozenset({192, 193, 497, 516}),
    404: frozenset({46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336}),
    408: frozenset({159}),
    413: frozenset({229}),
    415: frozenset({748}),
    501: frozenset({48}),
    # 202: ours. ClickHouse answers 500, but 503 is what clients wait for and try again.
    503: frozenset({76, 202, 209, 439}),
}
_STATUS_400_MORE = frozenset({15, 168, 167, 190, 321, 427, 441, 456, 457, 675, 676, 677})
_SHAPE = re.compile(r"Code: (\d+)\. (?:DB::Exception: )?", re.DOTALL)
_VERSION = re.compile(r" \(version [0-9.]+[^)]*\)\)?\.?")
_NAME = re.compile(r" \([A-Z][A-Z0-9_]*\)\.?\s*$")


class RecordsError(Exception):
    """Any of this tree."""


class EngineBusy(RecordsError):
    """Another process has the folder open: two engines on one folder would destroy it."""


class StoreUnavailable(RecordsError):
    """Refused, timed out or broken: the call may have happened."""


class StoreRefused(RecordsError):
    """An error that the engine or server answered. `code` is ClickHouse's, `message` its text
    without code, name and version."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = int(code)
        self.message = message

    @property
    def http_status(self) -> int:
        """What ClickHouse's HTTP server answers for this code."""
        if self.code in _STATUS_400_MORE:
            return 400
        return next((status for status, codes in _STATUS.items() if self.code in codes), 500)

    def text(self, version: str) -> str:
        """The body of ClickHouse's error answer: clients parse this shape."""
        name = Code(self.code).name if self.code in set(Code) else ""
        named = f" ({name})" if name else ""
        return f"Code: {self.code}. DB::Exception: {self.message}{named} (version {version})\n"


# A server's errors after which a write may have happened all the same: time ran out, the network
# between its parts broke, the query was stopped midway, or it does not know itself.
_IN_DOUBT = frozenset({159, 209, 210, 319, 394, 999, 1000, 1001, 1002})


def of_write(error: StoreRefused) -> RecordsError:
    """What an error means for a write: StoreRefused only where nothing was written."""
    return StoreUnavailable(str(error)) if error.code in _IN_DOUBT else error


def refused(text: str) -> StoreRefused:
    """The error in what the engine or a server wrote: `Code: 62. DB::Exception: ... (NAME)`. Text
    without a code gets 1001."""
    found = _SHAPE.search(text)
    if found is None:
        return StoreRefused(Code.STD_EXCEPTION, text.strip()[:2_000])
    rest = text[found.end() :]
    while (inner := _SHAPE.match(rest)) is not None:  # chDB repeats the frame around some
        rest = rest[inner.end() :]
    rest = _VERSION.sub("", rest)
    while (shorter := _NAME.sub("", rest)) != rest:
        rest = shorter
    return StoreRefused(int(found[1]), rest.strip()[:2_000])
