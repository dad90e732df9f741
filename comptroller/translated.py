"""Entries of model_list whose providers only LiteLLM speaks to: what they may say, and what the
process that speaks for them (`comptroller.translate`) is told of them.

LiteLLM is not imported here: which names it knows, it says in a file of its package."""

import hashlib
import os
import socket
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from budgets.embedded import SOCKET_PATH_BYTES_MAX
from comptroller.document import Value
from gateway.providers import PROVIDERS
from translator.deployment import Deployment

if TYPE_CHECKING:
    from comptroller.model_list import ModelEntry

T = TypeVar("T")
INSTALL: Final = "pip install 'comptroller[litellm]'"
PARAMS: Final = (
    *("api_version", "azure_ad_token", "region_name"),
    *("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name"),
    *("aws_role_name", "aws_session_name", "aws_profile_name", "aws_bedrock_runtime_endpoint"),
    *("vertex_project", "vertex_location", "vertex_credentials"),
)
"""What litellm_params of such an entry may say beside what every entry may."""
_AMAZON = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_IDENTIFIED: Final[Mapping[str, tuple[str, ...]]] = {
    "bedrock": _AMAZON,
    "sagemaker": _AMAZON,
    "vertex_ai": (".googleapis.com",),
}
"""Providers that a machine's own identity opens, without a key in the file, and where their servers
are: what such an identity opens is shown to nobody else."""
_AMAZON_KEYS = (
    ("aws_access_key_id", "aws_secret_access_key"),
    ("aws_role_name",),
    ("aws_profile_name",),
)
_KEYS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "azure": (("azure_ad_token",),),
    "bedrock": _AMAZON_KEYS,
    "sagemaker": _AMAZON_KEYS,
    "vertex_ai": (("vertex_credentials",),),
}
"""What says who pays, beside api_key: all of one group."""
BEARER_VARIABLE: Final = "AWS_BEARER_TOKEN_BEDROCK"
"""Amazon Bedrock, "API keys": where Amazon's own libraries look for one."""
BACKLOG = 2048
_BESIDE = frozenset(("huggingface", "nvidia_nim", "ollama_chat", "openrouter", "vertex_ai_beta"))
"""Names that LiteLLM knows and its list of endpoints does not."""
_ENDPOINTS_FILE = "provider_endpoints_support_backup.json"


class _Known(msgspec.Struct):
    endpoints: dict[str, object] = {}


class _File(msgspec.Struct):
    providers: dict[str, _Known]


def is_translated(provider: str) -> bool:
    """Whether this is a name of LiteLLM's that the gateway does not speak to by itself."""
    return provider not in PROVIDERS and provider in _names()


def is_installed() -> bool:
    """Whether LiteLLM is."""
    return find_spec("litellm") is not None


def check(
    provider: str, params: Mapping[str, Value], owner: Value, info: Value | None = None
) -> None:
    """Raises ConfigInvalid for what such an entry cannot say, or lacks."""
    if not is_translated(provider):
        for name in PARAMS:
            if name in params:
                raise params[name].error(f"{name} means nothing to {provider}: remove it")
        return
    counter = None if info is None else info.fields().get("input_counter")
    if counter is not None:
        raise counter.error(f"{provider} is reached through LiteLLM, and not asked: remove it")
    if provider.startswith("vertex_ai") and not _has_google_auth():
        raise owner.error(f"{provider} needs Google's library: pip install google-auth")
    if not _has_key(provider, params) and not provider.startswith(tuple(_IDENTIFIED)):
        raise owner.error(_key_missing(provider, params))


def identified_hosts(provider: str, params: Mapping[str, Value]) -> tuple[str, ...]:
    """How the names of servers end that may see what the machine's own identity opens, where that
    is used; empty where the entry says itself who pays."""
    return () if _has_key(provider, params) else _of_prefix(_IDENTIFIED, provider)


def extra_params(
    params: Mapping[str, Value], environment: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Those of PARAMS that are there, resolved, by name."""
    return tuple(
        (name, params[name].resolved(name, environment)) for name in PARAMS if name in params
    )


def identity(
    provider: str, params: Mapping[str, Value], environment: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """What the machine's environment holds for such an entry that says not itself who pays, as its
    parameters: LiteLLM does not see it there."""
    if not provider.startswith("bedrock") or _has_key(provider, params):
        return ()
    # Not `get`: `comptroller check` takes that for a variable that must be there.
    token = environment[BEARER_VARIABLE] if BEARER_VARIABLE in environment else ""  # noqa: SIM401
    return (("api_key", token),) if token else ()


def deployment(entry: "ModelEntry") -> Deployment:
    """What the translator is told of it. Its id is of all that, so that a process which has read
    another file takes it for nothing else."""
    params = dict(entry.params)
    if entry.api_key:
        params["api_key"] = entry.api_key
    if entry.api_base:
        params["api_base"] = entry.api_base
    whole = (entry.name, entry.provider, entry.upstream_model, sorted(params.items()))
    id_ = hashlib.sha256(msgspec.json.encode(whole)).hexdigest()[:32]
    return Deployment(id_, entry.provider, entry.upstream_model, params)


def listen_at(path: Path) -> socket.socket:
    """A listening socket of this name, for its owner alone. It is kept open while the translator is
    started again: who calls meanwhile waits. Raises OSError."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise OSError(f"{path} is too long for a unix socket: choose a shorter --data-dir")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _has_key(provider: str, params: Mapping[str, Value]) -> bool:
    """Whether the entry itself says who pays. Without, LiteLLM looks for a key in the environment,
    which may be there for another entry, and sends it to the server of this one."""
    groups = (("api_key",), *_of_prefix(_KEYS, provider))
    return any(all(name in params for name in group) for group in groups)


def _key_missing(provider: str, params: Mapping[str, Value]) -> str:
    if "api_base" not in params:
        variable = f"os.environ/{provider.upper()}_API_KEY"
        return f"api_key is missing, which {provider} needs: api_key: {variable}"
    return (
        f"api_key is missing: the key of {provider} in the environment is not sent to api_base by "
        "itself. Write the key of that server, or any word where it needs none: api_key: none"
    )


def _of_prefix(table: Mapping[str, tuple[T, ...]], provider: str) -> tuple[T, ...]:
    """LiteLLM has several names for one provider: bedrock_converse, azure_ai."""
    return next((each for name, each in table.items() if provider.startswith(name)), ())


@cache
def _names() -> frozenset[str]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return frozenset()
    content = (Path(spec.origin).parent / _ENDPOINTS_FILE).read_bytes()
    providers = msgspec.json.decode(content, type=_File).providers
    listed = {
        name for name, each in providers.items() if each.endpoints.get("chat_completions") is True
    }
    return _BESIDE | listed


def _has_google_auth() -> bool:
    try:
        return find_spec("google.auth") is not None
    except ModuleNotFoundError:
        return False
