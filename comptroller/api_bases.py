"""`api_base` of an entry of `model_list`: where its requests, and its key, go."""

import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from comptroller.document import Value
from comptroller.translated import identified_hosts, is_translated
from gateway.providers import PROVIDERS

_BASES = ("api_base", "aws_bedrock_runtime_endpoint")
_URL = re.compile(r"https?://[\x21-\x7e]+", re.ASCII)
_HOST = re.compile(r"[0-9A-Za-z._:-]{1,253}", re.ASCII)


def api_base_of(
    provider: str, params: Mapping[str, Value], owner: Value, environment: Mapping[str, str]
) -> str:
    """The URL of an entry, without a slash at its end; empty where LiteLLM knows it. `owner`: the
    part of the file that lacks what is missing. Raises ConfigInvalid."""
    if is_translated(provider):
        _check_identity(provider, params, environment)
    if "api_base" in params:
        return _checked_base(params["api_base"], environment)
    if is_translated(provider):
        return ""  # where it is, LiteLLM knows
    # Or the key of somebody's own server would be sent to the provider of that name.
    if provider in PROVIDERS[provider].own_servers:
        raise owner.error(f"api_base is missing: {provider} has no server of its own")
    base = PROVIDERS[provider].base
    if "api_key" not in params:
        variable = f"{provider.upper()}_API_KEY"
        raise owner.error(f"api_key is missing, which {base} needs: api_key: os.environ/{variable}")
    return base


def host_of(params: Mapping[str, Value], environment: Mapping[str, str]) -> str:
    """The server that is named; empty for the provider's own."""
    value = params.get("api_base")
    return "" if value is None else urlsplit(_checked_base(value, environment)).hostname or ""


def _check_identity(
    provider: str, params: Mapping[str, Value], environment: Mapping[str, str]
) -> None:
    """Else a server that the file names would be shown a key to all that the machine may do."""
    endings = identified_hosts(provider, params)
    for name in _BASES if endings else ():
        if name not in params:
            continue
        host = urlsplit(_checked_base(params[name], environment)).hostname or ""
        if not host.endswith(endings):
            raise params[name].error(
                f"{name} is no server of {provider}'s own, and the identity of this machine is not "
                "shown to it: write the key of that server beside it, or any word where it needs "
                "none, as in api_key: none"
            )


def _checked_base(value: Value, environment: Mapping[str, str]) -> str:
    """User, query and fragment would be lost on the way: they are refused."""
    text = value.resolved(value.name, environment)
    url = _split(text) if _URL.fullmatch(text) else None
    if url is None or not url.hostname or not _HOST.fullmatch(url.hostname):
        raise value.error(f"{value.name} is a URL, as in {PROVIDERS['openai'].base}")
    if "@" in url.netloc:
        raise value.error(f"{value.name} holds no password: use api_key")
    if "?" in text or "#" in text:
        raise value.error(f"{value.name} ends with its path: remove what follows ? or #")
    return text.rstrip("/")


def _split(text: str) -> SplitResult | None:
    """None for what is no URL: brackets without an IPv6 address, ports that cannot be."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    return url if port != 0 else None
