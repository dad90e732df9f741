"""Settings of models: an entry of model_list has the price, the server, the counter and the bound
that it says, or there is a clear complaint."""

import dataclasses
import ssl
from pathlib import Path

import pytest

from comptroller.commands.declared import warnings
from comptroller.document import ConfigInvalid
from comptroller.parts import route
from gateway.options import GatewayOptions
from gateway.upstream import PooledUpstream
from pricing import DEMO_PRICES
from tests.comptroller.declaring import PRICED, SERVER, load, model


def test_a_model_has_its_price_and_its_server(tmp_path: Path) -> None:
    """An entry of model_list in LiteLLM's format becomes a priced model at OpenAI's address."""
    text = model("model: openai/gpt-5-mini, api_key: sk-provider-secret")
    (entry,) = load(tmp_path, text).models
    assert (entry.name, entry.provider, entry.upstream_model) == ("mini", "openai", "gpt-5-mini")
    assert (entry.api_base, entry.api_key) == ("https://api.openai.com/v1", "sk-provider-secret")
    assert entry.price.rates.input_nusd_per_mtok == 1_000_000_000


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("model_list: []", 1, "model_list is empty"),
        ("model_list:\n  - model_name: x", 2, "needs litellm_params"),
        (
            "model_list:\n  - model_name: x\n    litellm_params: {model: nobody/flash}",
            3,
            "speaks OpenAI",
        ),
        (
            "model_list:\n  - model_name: x\n    litellm_params: {model: openai/x}",
            2,
            "x has no usable price",
        ),
        (
            "model_list:\n  - model_name: x\n    litellm_params: {model: demo/none}",
            3,
            "unknown demo model",
        ),
        (
            "model_list:\n  - model_name: x\n    litellm_params: {model: openai/x, api_bse: y}",
            3,
            "did you mean 'api_base'",
        ),
        (model("model: hosted_vllm/x, api_key: k"), 3, "api_base is missing"),
        (model("model: openai/x"), 3, "api_key is missing"),
        (model("model: openai/x, api_base: 'http://[::1/v1'"), 3, "api_base is a URL"),
        (model("model: openai/x, api_base: 'http://h:99999/v1'"), 3, "api_base is a URL"),
        (model("model: openai/x, api_base: 'http://h/v1#x'"), 3, "ends with its path"),
        (model("model: openai/x, api_base: 'http://u:p@h/v1'"), 3, "holds no password"),
        (model("model: openai/*, api_base: 'http://h/v1'"), 3, "wildcards"),
        (model(f"{SERVER}, input_cost_per_token: 1"), 3, "read in model_info"),
        (model(f"{SERVER}, timeout: 0"), 3, "timeout is a number of seconds"),
        (model(f"{SERVER}, rpm: 5"), 3, "rpm is not supported.*a budget"),
        (model(f"{SERVER}, weight: -1"), 3, "weight is a number from 0"),
        (model(f"{SERVER}, order: 1.5"), 3, "order is a whole number"),
        (model(f"{SERVER}, max_retries: 11"), 3, "max_retries is a whole number from 0 to 10"),
        (model(SERVER, "max_tokens: 5"), 4, "output_cost_per_token, max_input_tokens;"),
        (model(SERVER, f"{PRICED}, blocked: true"), 4, "unknown field 'blocked'"),
        (model(SERVER, f"{PRICED}, max_input_tokenz: 1"), 4, "'max_input_tokens'"),
        (model(SERVER, f"{PRICED},\n  input_cost_per_tokn: 1"), 5, "input_cost_per_tokn"),
        (model(SERVER, f"{PRICED}, supports_reasoning: 1"), 4, "true or false"),
        (model(SERVER, f"{PRICED}, input_counter: claude"), 4, "one of anthropic, google, openai"),
        (model(SERVER, f"{PRICED}, input_counter: [openai]"), 4, "input_counter"),
        (model(SERVER, f"{PRICED}, bound: learned"), 4, "bound is one of bytes, calibrated"),
        (
            model("model: demo/small", "input_counter: openai"),
            4,
            "demo models have no input_counter",
        ),
        (model("model: demo/small", "bound: calibrated"), 4, "demo models have no bound"),
        (model("model: demo/small, api_key: k"), 3, "demo models have no api_key"),
    ],
)
def test_a_mistake_in_a_model_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    """What loads can be served as it was meant: an entry that would crash a worker, send a key to
    another server or be read differently is refused with its line."""
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        load(tmp_path, text)
    assert f"comptroller.yaml:{line}:" in str(caught.value)


def test_parameters_of_a_model_hold(tmp_path: Path) -> None:
    """Server, key, timeouts and reasoning are what the file says; a fraction of a millisecond
    counts as one, null is absent, the address may come from the environment."""
    text = model(
        "model: hosted_vllm/org/x, api_base: os.environ/BASE, api_key: null, timeout: 1.5, "
        "stream_timeout: 0.0001",
        f"{PRICED}, supports_reasoning: false, input_cost_per_audio_token: null",
    )
    (entry,) = load(tmp_path, text, BASE="http://127.0.0.1:1/v1/").models
    assert (entry.provider, entry.upstream_model) == ("hosted_vllm", "org/x")
    assert (entry.api_base, entry.api_key) == ("http://127.0.0.1:1/v1", "")
    assert (entry.timeout_ms, entry.stream_timeout_ms) == (1500, 1)
    assert not entry.reasons_unseen


@pytest.mark.parametrize(
    ("counter", "target", "header"),
    [
        ("openai", b"/v1/responses/input_tokens", b"authorization: Bearer k\r\n"),
        ("anthropic", b"/v1/messages/count_tokens", b"x-api-key: k\r\n"),
        ("google", b"/v1/models/x:countTokens", b"x-goog-api-key: k\r\n"),
    ],
)
def test_a_counter_is_asked_at_the_model_s_own_server(
    tmp_path: Path, counter: str, target: bytes, header: bytes
) -> None:
    """With its key, and about texts, because the route speaks another wire format; without the
    field nobody is asked."""
    text = model(f"{SERVER}, api_key: k", f"{PRICED}, input_counter: {counter}")
    (entry,) = load(tmp_path, text).models
    made = route(entry, entry.wires[0], PooledUpstream(), GatewayOptions())
    assert made.counter is not None
    assert (made.counter.origin, made.counter.target) == (made.origin, target)
    assert made.counter.headers.count(header) == 1
    assert not made.counter.counts_request
    (plain,) = load(tmp_path, model(SERVER)).models
    assert route(plain, plain.wires[0], PooledUpstream(), GatewayOptions()).counter is None


def test_a_bound_is_calibrated_only_where_the_file_says_so(tmp_path: Path) -> None:
    """It is another route then, of which nothing is known yet; `comptroller check` warns of it."""
    found = {}
    for said in ("mode: chat", "bound: bytes", "bound: calibrated"):
        settings = load(tmp_path, model(SERVER, f"{PRICED}, {said}"))
        (entry,) = settings.models
        made = route(entry, entry.wires[0], PooledUpstream(), GatewayOptions())
        warned = [each for each in warnings(settings) if "calibrated" in each]
        found[said] = entry.calibrated, made.calibrated, made.learned_as, len(warned)
    plain = found["mode: chat"]
    assert found["bound: bytes"] == plain
    assert (plain[0], plain[1], plain[3]) == (False, False, 0)
    calibrated = found["bound: calibrated"]
    assert (calibrated[0], calibrated[1], calibrated[3]) == (True, True, 1)
    assert calibrated[2] != plain[2]


def test_claude_is_reached_by_messages_wherever_its_address_ends(tmp_path: Path) -> None:
    """`anthropic/...` has its price from the catalogue and speaks Messages; an address with or
    without the version at its end, as LiteLLM takes both, is the same."""
    upstream = PooledUpstream(ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for base in ("", "https://api.anthropic.com", "https://api.anthropic.com/v1/"):
        said = f", api_base: '{base}'" if base else ""
        text = (
            "model_list:\n  - {model_name: claude, litellm_params: "
            f"{{model: anthropic/claude-haiku-4-5, api_key: sk-ant{said}}}}}\n"
        )
        (entry,) = load(tmp_path, text).models
        assert entry.price.rates.output_nusd_per_mtok == 5 * 10**9
        assert entry.price.tool_framing_tokens > 0
        (wire,) = entry.wires
        served = route(entry, wire, upstream, GatewayOptions())
        assert (served.endpoint, served.target) == ("/v1/messages", b"/v1/messages")
        assert (served.origin.host, served.cap_field) == ("api.anthropic.com", "max_tokens")
        assert b"x-api-key: sk-ant\r\n" in bytes(served.headers)
        assert b"authorization" not in bytes(served.headers).lower()


def test_the_tier_of_an_account_is_said_where_it_has_a_price(tmp_path: Path) -> None:
    """`default_service_tier` is ours; one without a price is refused with those that have one."""
    tiers = f"{PRICED}, input_cost_per_token_flex: 0.0000005, output_cost_per_token_flex: 0.000001"
    (entry,) = load(tmp_path, model(SERVER, f"{tiers}, default_service_tier: flex")).models
    assert entry.default_tier == "flex"
    assert entry.sheet.can_quote("flex")
    with pytest.raises(ConfigInvalid, match=r"yaml:4: default_service_tier.*priority.*no price"):
        load(tmp_path, model(SERVER, f"{tiers}, default_service_tier: priority"))


def test_a_demo_model_can_have_another_price(tmp_path: Path) -> None:
    """The demo's own price holds unless model_info has one."""
    (own,) = load(tmp_path, model("model: demo/large", "mode: chat")).models
    assert own.price == DEMO_PRICES["demo/large"]
    (other,) = load(tmp_path, model("model: demo/large")).models
    assert other.price.rates.input_nusd_per_mtok == 1_000_000_000


def test_an_example_talks_to_a_model_that_chats(tmp_path: Path) -> None:
    """A list may begin with one that embeds: nobody can say hello to it."""
    (embedder,) = load(tmp_path, model("model: demo/embedder", "mode: embedding")).models
    (chatting,) = load(tmp_path, model("model: demo/small", "mode: chat")).models
    settings = load(tmp_path, "{}\n")
    both = (embedder, dataclasses.replace(chatting, name="second"))
    assert dataclasses.replace(settings, models=both).model_to_try == "second"
    assert dataclasses.replace(settings, models=both[:1]).model_to_try == embedder.name
