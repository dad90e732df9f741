"""Entries of model_list that LiteLLM speaks for: what they may say and must, and that nothing of
LiteLLM is needed to read them."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comptroller import translated
from comptroller.settings import ConfigInvalid, ModelEntry, load_settings
from comptroller.translated import (
    BEARER_VARIABLE,
    PARAMS,
    deployment,
    is_translated,
    listen_at,
)
from gateway.providers import PROVIDERS
from tests.translator.standing import NEEDS_LITELLM

PRICED = (
    "input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, "
    "max_input_tokens: 1000, max_output_tokens: 100"
)
SECRET = "sk-secret-of-a-provider"
Read = Callable[..., ModelEntry]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads one entry with these parameters."""

    def entry(params: str, info: str = PRICED, **environment: str) -> ModelEntry:
        path = tmp_path / "comptroller.yaml"
        info = f"    model_info: {{{info}}}\n" if info else ""
        path.write_text(f"model_list:\n  - model_name: m\n    litellm_params: {{{params}}}\n{info}")
        return load_settings(path, {"KEY": SECRET, **environment}).models[0]

    return entry


@NEEDS_LITELLM
def test_an_entry(read: Read) -> None:
    """Its key and its parameters are told to the translator, and shown to nobody."""
    entry = read(
        "model: bedrock/amazon.nova-pro-v1:0, aws_secret_access_key: os.environ/KEY, "
        "aws_access_key_id: AKIA, aws_region_name: eu-west-1, timeout: 3"
    )
    assert (entry.provider, entry.upstream_model) == ("bedrock", "amazon.nova-pro-v1:0")
    assert [each.endpoint for each in entry.wires] == ["/v1/chat/completions"]
    assert entry.timeout_ms == 3_000
    told = deployment(entry)
    assert told.params == {
        "aws_secret_access_key": SECRET,
        "aws_access_key_id": "AKIA",
        "aws_region_name": "eu-west-1",
    }
    assert SECRET not in repr(entry) + repr(told)
    assert told.without_secrets(f"no {SECRET}!") == "no [redacted]!"


@NEEDS_LITELLM
def test_another_entry_is_another_deployment(read: Read) -> None:
    """In whatever it differs: who has read another file must not take one for another."""
    texts = [
        "model: azure/x, api_key: k1, api_base: 'http://h'",
        "model: azure/x, api_key: k2, api_base: 'http://h'",
        "model: azure/y, api_key: k1, api_base: 'http://h'",
        "model: azure/x, api_key: k1, api_base: 'http://i'",
        "model: azure/x, api_key: k1, api_base: 'http://h', api_version: '1'",
        "model: azure_ai/x, api_key: k1, api_base: 'http://h'",
    ]
    assert len({deployment(read(each)).id for each in texts}) == len(texts)
    assert deployment(read(texts[0])).id == deployment(read(texts[0])).id


@NEEDS_LITELLM
@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ("model: gemini/x", "api_key is missing, which gemini needs"),
        ("model: gemini/x, api_key: 'a b'", "api_key must be ASCII"),
        ("model: gemini/x, api_key: k, api_base: 'no url'", "api_base is a URL"),
        ("model: gemini/x, api_key: k, cache_control: 3", "unknown field 'cache_control'"),
        ("model: gemini/x, api_key: k, mock_response: x", "unknown field 'mock_response'"),
        ("model: openai/x, api_key: k, api_version: '1'", "api_version means nothing to openai"),
        ("model: demo/small, aws_region_name: x", "aws_region_name means nothing to demo"),
        ("model: nobody/x, api_key: k", "demo and what LiteLLM speaks to"),
        ("model: gemini/*, api_key: k", "wildcards"),
    ],
)
def test_what_is_refused(read: Read, params: str, complaint: str) -> None:
    """With its line."""
    with pytest.raises(ConfigInvalid, match=complaint):
        read(params)


@pytest.fixture
def has_google_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Google's library were installed."""
    monkeypatch.setattr(translated, "_has_google_auth", lambda: True)


AT = "api_base: 'http://10.0.0.1:8000/v1'"
AWS_KEY = "aws_access_key_id: AKIA, aws_secret_access_key: s"


@NEEDS_LITELLM
@pytest.mark.usefixtures("has_google_auth")
@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        (f"model: mistral/x, {AT}", "not sent to api_base by itself.*api_key: none"),
        (f"model: azure/x, {AT}, api_version: '1'", "not sent to api_base by itself"),
        (f"model: mistral/x, {AT}, {AWS_KEY}", "not sent to api_base by itself"),
        (f"model: mistral/x, {AT}, azure_ad_token: t", "not sent to api_base by itself"),
        ("model: mistral/x, aws_region_name: r", "api_key is missing, which mistral needs"),
        ("model: azure_ai/x, region_name: r", "api_key is missing, which azure_ai needs"),
        ("model: gemini/x, vertex_location: l", "api_key is missing, which gemini needs"),
        (f"model: bedrock/x, {AT}", ":3: api_base is no server of bedrock's own"),
        (f"model: bedrock/x, {AT}, aws_access_key_id: AKIA", "no server of bedrock's own"),
        (f"model: vertex_ai/x, {AT}, vertex_project: p", "no server of vertex_ai's own"),
        (
            "model: bedrock/x, aws_bedrock_runtime_endpoint: 'https://a.example'",
            "aws_bedrock_runtime_endpoint is no server of bedrock's own.*api_key: none",
        ),
        ("model: vertex_ai/x, api_base: 'https://evilgoogleapis.com'", "no server of vertex_ai's"),
    ],
)
def test_a_key_goes_where_the_entry_says_and_nowhere_else(
    read: Read, params: str, complaint: str
) -> None:
    """LiteLLM takes a key that is missing from the environment, where it may be another entry's, or
    the machine's identity, and sends it to the server of this one."""
    with pytest.raises(ConfigInvalid, match=complaint):
        read(params)


@NEEDS_LITELLM
@pytest.mark.usefixtures("has_google_auth")
@pytest.mark.parametrize(
    "params",
    [
        f"model: mistral/x, {AT}, api_key: none",
        f"model: azure/x, {AT}, azure_ad_token: t",
        f"model: bedrock/x, {AT}, {AWS_KEY}",
        f"model: vertex_ai/x, {AT}, vertex_credentials: '{{}}'",
        "model: bedrock/x",
        "model: bedrock/x, aws_region_name: eu-west-1",
        "model: sagemaker/x, aws_role_name: r, aws_session_name: s",
        "model: vertex_ai/x, vertex_project: p",
        "model: bedrock/x, api_base: 'https://vpce-1.bedrock-runtime.eu-west-1.amazonaws.com'",
        "model: vertex_ai/x, api_base: 'https://aiplatform-psc.p.googleapis.com'",
    ],
)
def test_who_says_who_pays_is_served(read: Read, params: str) -> None:
    """By a key, or by the machine's identity at the servers of whose it is."""
    assert read(params).name == "m"


@NEEDS_LITELLM
def test_amazons_key_in_the_environment_is_an_identity(read: Read) -> None:
    """Of an entry that says not itself who pays, and of no other."""
    variables = {"AWS_BEARER_TOKEN_BEDROCK": SECRET}
    region = "aws_region_name: r"
    told = deployment(read(f"model: bedrock/x, {region}", **variables))
    assert told.params == {"aws_region_name": "r", "api_key": SECRET}
    assert told.without_secrets(f"no {SECRET}!") == "no [redacted]!"

    for params in (f"model: bedrock/x, {AWS_KEY}", "model: sagemaker/x"):
        assert SECRET not in deployment(read(params, **variables)).params.values()
    with pytest.raises(ConfigInvalid, match="no server of bedrock's own"):
        read(f"model: bedrock/x, {AT}", **variables)


@NEEDS_LITELLM
def test_it_may_be_of_the_file_itself(tmp_path: Path) -> None:
    """Where no entry names it."""
    path = tmp_path / "comptroller.yaml"
    path.write_text(
        f"model_list: [{{model_name: m, litellm_params: {{model: bedrock/x}}, "
        f"model_info: {{{PRICED}}}}}]\n"
        f"environment_variables: {{{BEARER_VARIABLE}: {SECRET}}}\n"
    )
    for real in ({}, {BEARER_VARIABLE: "another"}):
        assert deployment(load_settings(path, real).models[0]).params == {"api_key": SECRET}


@NEEDS_LITELLM
def test_only_chat_models_are_served(read: Read) -> None:
    """Of another mode LiteLLM would make something that nobody here can look at."""
    with pytest.raises(ConfigInvalid, match="models of mode embedding are not reached"):
        read("model: gemini/text-embedding, api_key: k", f"{PRICED}, mode: embedding")
    assert read("model: gemini/x, api_key: k", f"{PRICED}, mode: chat").wires


@NEEDS_LITELLM
def test_nobody_is_asked_to_count(read: Read) -> None:
    """The key for that is the translator's, which sends what is reserved and nothing else."""
    with pytest.raises(ConfigInvalid, match="reached through LiteLLM, and not asked"):
        read("model: gemini/x, api_key: k", f"{PRICED}, input_counter: google-generate")


@NEEDS_LITELLM
def test_prices_are_those_of_who_bills(read: Read) -> None:
    """Whose name is the prefix: on Azure every customer has a server of its own."""
    listed = read("model: gemini/gemini-2.5-flash, api_key: k", "")
    assert listed.price.rates.output_nusd_per_mtok > listed.price.rates.input_nusd_per_mtok > 0
    azure = "model: azure/gpt-4o, api_key: k, api_base: 'https://us.openai.azure.com'"
    assert read(azure, "").price.max_output_tokens > 0
    with pytest.raises(ConfigInvalid, match=r"nobody whose prices are listed serves 127\.0\.0\.1"):
        read("model: gemini/gemini-2.5-flash, api_key: k, api_base: 'http://127.0.0.1:1'", "")


@NEEDS_LITELLM
def test_its_names_are_litellms_own() -> None:
    """Among them those of docs/providers.md; what the gateway speaks to by itself is not."""
    for name in ("gemini", "bedrock", "vertex_ai", "azure", "azure_ai", "mistral", "cohere_chat"):
        assert is_translated(name), name
    assert not any(is_translated(each) for each in (*PROVIDERS, "demo", "nobody", ""))


@pytest.fixture
def without_litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if it were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        translated, "find_spec", lambda name: None if name == "litellm" else find(name)
    )
    translated._names.cache_clear()
    yield
    translated._names.cache_clear()


@pytest.mark.usefixtures("without_litellm")
def test_without_litellm_the_error_says_how_to_get_it(read: Read) -> None:
    """The file is refused at the start, not the first request."""
    with pytest.raises(ConfigInvalid, match=r"pip install 'comptroller\[litellm\]'"):
        read("model: gemini/x, api_key: k")


@NEEDS_LITELLM
def test_vertex_needs_googles_library(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM does not bring it."""
    monkeypatch.setattr(translated, "_has_google_auth", lambda: False)
    with pytest.raises(ConfigInvalid, match="pip install google-auth"):
        read("model: vertex_ai/gemini-2.5-flash, vertex_project: p")
    monkeypatch.setattr(translated, "_has_google_auth", lambda: True)
    assert read("model: vertex_ai/gemini-2.5-flash, vertex_project: p").provider == "vertex_ai"


@NEEDS_LITELLM
def test_litellm_is_not_imported_to_read_them(tmp_path: Path) -> None:
    """By any process but the translator's."""
    path = tmp_path / "comptroller.yaml"
    path.write_text(
        "model_list:\n  - model_name: m\n    litellm_params: {model: gemini/x, api_key: k}\n"
        f"    model_info: {{{PRICED}}}\n"
    )
    program = (
        "import sys, pathlib, comptroller.parts, comptroller.settings as s;"
        f"s.load_settings(pathlib.Path({str(path)!r}), {{}});"
        "sys.exit('litellm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_socket_that_cannot_be_says_so(tmp_path: Path) -> None:
    """Its name must fit into an address."""
    with pytest.raises(OSError, match="choose a shorter --data-dir"):
        listen_at(tmp_path / ("x" * 120))


def test_a_socket_that_was_left_is_replaced(folder: Path) -> None:
    """By a killed instance; it is its owner's alone."""
    for _ in range(2):
        with listen_at(folder / "translator.sock"):
            assert (folder / "translator.sock").stat().st_mode & 0o077 == 0


def test_no_parameter_is_one_of_ours() -> None:
    """Those have a meaning of their own."""
    assert not {"model", "api_key", "api_base", "timeout", "stream_timeout"} & set(PARAMS)
