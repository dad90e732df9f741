"""`comptroller quote`: what a request would reserve, and whether it fits, without sending it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.gateway import base_url, is_loopback, key_secret, no_answer
from comptroller.commands.options import BaseUrl, Config, DataDir, Json
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import show_pairs
from comptroller.exits import REFUSED_BY_BUDGET, USAGE_ERROR
from comptroller.variables import KEY_VARIABLE

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30
INPUT_BYTES_MAX = 64 * 2**20
HELP = "comptroller quote --help"
_FIELDS = ("reserved_usd", "input_tokens_max", "output_tokens_max", "fits", "scope", "reason")


@told()
def quote_command(  # noqa: PLR0913, PLR0917  # options of a command
    model: Annotated[str, typer.Argument(help="The model that would be asked.")],
    input_file: Annotated[
        str, typer.Option("--input", help="A chat request's body, or plain text; `-` reads stdin.")
    ] = "",
    prompt: Annotated[str, typer.Option(help="A message to quote instead of a file.")] = "",
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Output cap, where the body has none.")
    ] = None,
    key: Annotated[
        str, typer.Option(help="Better in the variable.", envvar=KEY_VARIABLE, show_default=False)
    ] = "",
    base: BaseUrl = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Quote a request: what it would reserve, and whether it fits. Exits 3 where it does not."""
    body = request_body(model, _input_text(input_file, prompt), max_tokens)
    secret = key_secret(key, config, data_dir)
    url = base_url(base, config, data_dir)
    answer = _asked(url, secret, body)
    said = {**answer, "fits": "yes" if answer.get("fits") is True else "no"}
    show_pairs([(name, said.get(name)) for name in _FIELDS], answer, as_json=as_json)
    if answer.get("fits") is not True:
        scope = answer.get("scope", "")
        raise CommandFailed(
            f"it does not fit into the budget of {scope} ({answer.get('reason', 'refused')})",
            f"comptroller budget show {scope}",
            REFUSED_BY_BUDGET,
        )


def request_body(model: str, text: str, max_tokens: int | None) -> dict[str, Any]:
    """The body of a chat request for this model: from one in JSON, or around a plain prompt.
    Raises CommandFailed (2)."""
    body: object = {"messages": [{"role": "user", "content": text}]}
    if text.lstrip().startswith("{"):
        try:
            body = json.loads(text)
        except ValueError as error:
            raise CommandFailed(f"the input is no JSON: {error}", HELP, USAGE_ERROR) from None
    assert isinstance(body, dict)
    if max_tokens is not None and not {"max_tokens", "max_completion_tokens"} & body.keys():
        body["max_tokens"] = max_tokens
    return {**body, "model": model}


def _input_text(input_file: str, prompt: str) -> str:
    if bool(input_file) == bool(prompt):
        message = "give either --input FILE (or -) or --prompt TEXT"
        raise CommandFailed(message, HELP, USAGE_ERROR)
    if prompt:
        return prompt
    try:
        if input_file == "-":
            content = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(input_file).open("rb") as file:
                content = file.read(INPUT_BYTES_MAX + 1)
        if len(content) > INPUT_BYTES_MAX:
            message = f"the input is larger than {INPUT_BYTES_MAX} bytes"
            raise CommandFailed(message, HELP, USAGE_ERROR)
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{input_file}: {error}", HELP, USAGE_ERROR) from None


def _asked(url: str, secret: str, body: dict[str, Any]) -> dict[str, Any]:
    import httpx

    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=not is_loopback(url)) as client:
            headers = {"Authorization": f"Bearer {secret}"}
            answer = client.post(f"{url}/quote", headers=headers, json=body)
            return _document(answer)
    except httpx.HTTPError as error:
        raise no_answer(url, error) from None


def _document(answer: "httpx.Response") -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.status_code == 200 and isinstance(document, dict):
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        message = f"{answer.url} answered {answer.status_code}, not as a gateway does"
        raise CommandFailed(message, "comptroller doctor")
    code = error.get("code")
    refused = code in ("budget_exceeded", "rate_limit_exceeded")
    raise CommandFailed(
        str(error.get("message")),
        _NEXT.get(str(code), "comptroller doctor"),
        REFUSED_BY_BUDGET if refused else _CODES.get(str(code), 1),
    )


_NEXT = {
    "invalid_api_key": "comptroller key list",
    "model_not_allowed": "comptroller key list",
    "model_not_found": "comptroller check",
    "invalid_request_error": HELP,
    "budget_exceeded": "comptroller budget list",
    "rate_limit_exceeded": "comptroller budget list",
}
_CODES = {"invalid_request_error": USAGE_ERROR, "model_not_found": USAGE_ERROR}
