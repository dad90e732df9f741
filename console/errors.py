"""Every error that a caller of the admin port can get: one tree, one shape, one file.

    ConsoleError
    |- InvalidRequest      400  malformed, unknown field, bad value (413, 408: body too large, slow)
    |  `- DefinitionRefused     a workflow that cannot run; `problems` says all that is wrong
    |- QueryRefused        400  ClickHouse refuses the query; code `clickhouse_<its code>`
    |- InvalidToken        401  no, unknown or expired admin token
    |- NotAllowed          403  the role is not enough, or it is another organisation's
    |  `- ProgramsNotAllowed    a workflow whose steps run programs on the server
    |- NotFound            404  no such key, scope, token, route (405: wrong method)
    |- Conflict            409  closed for good, there already, changed at the same time
    |  |- ConfigurationRefused   the file cannot be used; the message has its line
    |  `- RestartNeeded          it changes what cannot change while things run
    |- TooManyStreams      429
    |- LedgerGone          503
    |- RunsGone            503  the database of runs does not answer
    `- RecordsGone         503

Messages never repeat a value that could be a secret.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from budgets.administration import ScopeClosed
from budgets.keys import KeyChanged, TooManySecrets
from budgets.policy import PolicyInvalid
from budgets.session import OrganisationUnknown
from budgets.transport import LedgerUnavailable
from clickhouse.errors import StoreRefused
from console.records import RecordsAway, RecordsBehind, RecordsBusy
from orchestrator.problems import DefinitionInvalid, Place, Problem
from orchestrator.running.database import DatabaseAway
from orchestrator.running.deciding import NoSuchRun, NotPossible
from orchestrator.running.schedule_acts import NoSuchSchedule
from orchestrator.running.showing import NoSuchStep
from orchestrator.running.submitting import NameTaken
from orchestrator.schedules import ScheduleInvalid

MESSAGE_CHARS_MAX = 2_000
NAME_CHARS_SHOWN = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_log = logging.getLogger("comptroller.console")


class ConsoleError(Exception):
    """An answer other than 2xx. `code` is for programs, `message` for people."""

    status = 500
    code = "internal_error"
    type = "api_error"
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message[:MESSAGE_CHARS_MAX]
        self.param = param

    def response(self) -> JSONResponse:
        """`{"error": {message, type, code, param}}`."""
        error = {
            "message": self.message,
            "type": self.type,
            "code": self.code,
            "param": self.param,
            **self.more(),
        }
        return JSONResponse({"error": error}, self.status, dict(self.headers))

    def more(self) -> Mapping[str, Any]:
        """Fields that only this error has."""
        return {}


class InvalidRequest(ConsoleError):
    """The request cannot be served as it is written; `param` is the field."""

    status = 400
    code = "invalid_request_error"
    type = "invalid_request_error"


class BodyTooLarge(InvalidRequest):
    """The body is over the limit."""

    status = 413


class BodyTooSlow(InvalidRequest):
    """The body did not come in time."""

    status = 408


class DefinitionRefused(InvalidRequest):
    """A workflow that cannot run, or an input that it does not take."""

    code = "definition_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, rest = problems[0], len(problems) - 1
        more = f" (and {rest} more, in `problems`)" if rest else ""
        place = place_text(first.place)
        super().__init__(f"{place}: {first.message}{more}" if place else first.message + more)
        self.problems = problems

    def more(self) -> Mapping[str, Any]:
        """`problems`: each with its `place` and `message`."""
        return {
            "problems": [
                {"place": place_text(each.place), "message": each.message[:MESSAGE_CHARS_MAX]}
                for each in self.problems
            ]
        }


def place_text(place: Place) -> str:
    """As one writes it: `steps[2].needs[0]`, `files["publish.yaml"].steps[0]`."""
    text = ""
    for each in place:
        if isinstance(each, int):
            text += f"[{each}]"
        elif _NAME.fullmatch(each):
            text += f".{each}" if text else each
        else:
            text += f"[{json.dumps(each[:NAME_CHARS_SHOWN])}]"
    return text


class QueryRefused(InvalidRequest):
    """ClickHouse's own refusal."""

    def __init__(self, error: StoreRefused) -> None:
        super().__init__(f"{error.message} (ClickHouse code {error.code})", param="query")
        self.code = f"clickhouse_{error.code}"


class InvalidToken(ConsoleError):
    """No, unknown or expired admin token."""

    status = 401
    code = "invalid_admin_token"
    type = "authentication_error"
    headers = {"www-authenticate": "Bearer"}  # noqa: RUF012  # never changed


class NotAllowed(ConsoleError):
    """The token's role is not enough."""

    status = 403
    code = "role_not_allowed"
    type = "permission_error"


class OtherOrganisation(NotAllowed):
    """The token is bound to another organisation."""

    code = "organisation_not_allowed"


class ProgramsNotAllowed(NotAllowed):
    """Steps that run programs on the server are for few."""

    code = "programs_not_allowed"


class NotFound(ConsoleError):
    """No such thing here, or none that this token may see."""

    status = 404
    code = "not_found"
    type = "not_found_error"


class MethodNotAllowed(NotFound):
    """The route exists with another method."""

    status = 405
    code = "method_not_allowed"


class Conflict(ConsoleError):
    """What is there stands in the way."""

    status = 409
    code = "conflict"
    type = "conflict_error"


class ConfigurationRefused(Conflict):
    """The configuration file, or what it asks of this machine, cannot be used."""

    code = "configuration_refused"


class RestartNeeded(Conflict):
    """It changes what cannot change while things run."""

    code = "restart_needed"


class TooManyStreams(ConsoleError):
    """As many streams are open as may be."""

    status = 429
    code = "too_many_streams"
    type = "rate_limit_error"
    headers = {"retry-after": "5"}  # noqa: RUF012  # never changed


class LedgerGone(ConsoleError):
    """The ledger cannot be asked."""

    status = 503
    code = "ledger_unavailable"
    headers = {"retry-after": "1"}  # noqa: RUF012  # never changed


class RunsGone(ConsoleError):
    """The database of runs cannot be asked."""

    status = 503
    code = "runs_unavailable"
    headers = {"retry-after": "1"}  # noqa: RUF012  # never changed


class RecordsGone(ConsoleError):
    """The records cannot be asked."""

    status = 503
    code = "records_unavailable"
    headers = {"retry-after": "1"}  # noqa: RUF012  # never changed


def error_of(error: Exception) -> ConsoleError:
    """The answer to any exception; what is not known is logged whole and told as a 500."""
    match error:
        case ConsoleError():
            return error
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            return _of_route(error.status_code)
        case PolicyInvalid():
            return InvalidRequest(str(error))
        case ScopeClosed() | KeyChanged() | TooManySecrets():
            return Conflict(str(error))
        case OrganisationUnknown():
            return NotFound(str(error), param="scope")
        case LedgerUnavailable():
            _log.warning("the ledger: %s", error)
            return LedgerGone("the ledger does not answer, or not yet: try again")
        case StoreRefused():
            return QueryRefused(error)
        case RecordsAway():
            return _without_records(error)
    return _of_runs(error)


def _of_runs(error: Exception) -> ConsoleError:
    match error:
        case DefinitionInvalid():
            return DefinitionRefused(error.problems)
        case NotPossible() | NameTaken():
            return Conflict(str(error))
        case ScheduleInvalid():
            return InvalidRequest(str(error), param=error.field)
        case NoSuchRun() | NoSuchStep() | NoSuchSchedule():
            return NotFound(str(error))
        case DatabaseAway():
            _log.warning("%s", error)
            return RunsGone("the database of runs does not answer: try again")
    _log.error("a request failed", exc_info=error)
    return ConsoleError("the console failed; its log has the reason")


def _without_records(error: RecordsAway) -> RecordsGone:
    if isinstance(error, RecordsBusy):
        return RecordsGone("too many questions run at once: try again when one has ended")
    _log.warning("the records: %s", error)
    if isinstance(error, RecordsBehind):
        return RecordsGone("the records have not yet all that was booked: try again")
    return RecordsGone("the records do not answer: is the recorder running?")


def _of_route(status: int) -> ConsoleError:
    """What the framework says by itself."""
    if status == 404:
        return NotFound("there is no such call; /docs lists them all")
    if status == 405:
        return MethodNotAllowed("this call does not take that method; /docs lists them all")
    return InvalidRequest("the body cannot be read: send a JSON object")


def _invalid(errors: Sequence[Any]) -> InvalidRequest:
    """The first complaint about a request's fields, without what was sent."""
    first = errors[0]
    place = [str(each) for each in first["loc"][1:]]  # the first says body, query, path or header
    kind, context = str(first["type"]), first.get("ctx", {})
    if kind == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {context.get('error', 'syntax error')}")
    if kind == "unknown_field":
        return InvalidRequest(str(first["msg"]), param=".".join([*place, context["name"]]))
    if kind == "model_attributes_type" or not place:
        return InvalidRequest(
            "send a JSON object as the body, with `Content-Type: application/json`"
        )
    param = ".".join(place)
    if kind == "missing":
        return InvalidRequest(f"{param} is missing", param=param)
    return InvalidRequest(f"{param}: {first['msg']}", param=param)
