"""Settings: what file and environment say is what the gateway gets, or a clear complaint."""

import dataclasses
import ssl
from pathlib import Path

import pytest

from comptroller.commands.declared import warnings
from comptroller.document import FILE_BYTES_MAX, ConfigInvalid
from comptroller.options import OPTIONS
from comptroller.parts import route
from comptroller.settings import Settings, load_settings
from gateway.options import GatewayOptions
from gateway.upstream import PooledUpstream
from pricing import DEMO_PRICES

SECRET = "a-secret-of-some-length"
MODEL = """
  - model_name: mini
    litellm_params: {model: openai/gpt-5-mini, api_key: sk-provider-secret}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002,
                 max_input_tokens: 1000, max_output_tokens: 100}
"""


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Settings from a file with this text."""
    path = tmp_path / "comptroller.yaml"
    path.write_text(text)
    return load_settings(path, environment)


def test_without_a_file_the_demo_models_are_served_on_loopback() -> None:
    """A newcomer needs no file: demo models, loopback, every setting at its default."""
    settings = load_settings(None, {})
    assert {model.name for model in settings.models} == set(DEMO_PRICES)
    assert settings.host == "127.0.0.1"
    assert (settings.budgets, settings.keys) == ((), ())


def test_the_defaults_of_the_table_are_those_of_the_code() -> None:
    """An option's default in the table is the default of the dataclass that it fills."""
    settings = load_settings(None, {})
    for option in OPTIONS:
        part = option.part or option.section
        if part:
            group = type(getattr(settings, part))
            defaults = {field.name: field.default for field in dataclasses.fields(group)}
            assert defaults[option.name] == option.default, option.name


def test_names_of_options_are_unique_and_have_meanings() -> None:
    """One name is one setting, in the file and in the environment."""
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)
    assert all(option.meaning for option in OPTIONS)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """COMPTROLLER_<NAME> overrides what the file says, in every section."""
    text = (
        "port: 4100\ngateway: {refusal_status: 400, usage_cost: true}\nledger: {lease_ms: 5000}\n"
    )
    settings = load(tmp_path, text)
    assert (settings.port, settings.gateway.refusal_status, settings.ledger.lease_ms) == (
        4100,
        400,
        5000,
    )
    settings = load(
        tmp_path,
        text,
        COMPTROLLER_PORT="4200",
        COMPTROLLER_USAGE_COST="false",
        COMPTROLLER_LEASE_MS="9000",
    )
    assert (settings.port, settings.gateway.usage_cost, settings.ledger.lease_ms) == (
        4200,
        False,
        9000,
    )


def test_a_model_has_its_price_and_its_server(tmp_path: Path) -> None:
    """An entry of model_list in LiteLLM's format becomes a priced model at OpenAI's address."""
    (model,) = load(tmp_path, f"model_list:{MODEL}").models
    assert (model.name, model.provider, model.upstream_model) == ("mini", "openai", "gpt-5-mini")
    assert (model.api_base, model.api_key) == ("https://api.openai.com/v1", "sk-provider-secret")
    assert model.price.rates.input_nusd_per_mtok == 1_000_000_000


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    """`os.environ/NAME` is read, and neither it nor a provider's key is in the settings' repr."""
    text = f"model_list:{MODEL}keys:\n  - {{name: ci, scope: acme, secret: os.environ/CI_KEY}}\n"
    settings = load(tmp_path, text, CI_KEY=SECRET)
    assert settings.keys[0].secret == SECRET
    assert SECRET not in repr(settings)
    assert "sk-provider-secret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
        ("prot: 1", 1, "unknown field 'prot'.*did you mean 'port'"),
        ("port: 1\nport: 2", 2, "port is there twice.*line 1"),
        ("port: many", 1, "port must be a whole number"),
        ("port: 0", 1, "port must be from 1 to 65535"),
        ("gateway:\n  usage_cost: 1", 2, "usage_cost must be true or false"),
        ("gateway:\n  usage_costs: true", 2, "did you mean 'usage_cost'"),
        ("port: 1\nrouter_setting: {}", 2, "did you mean 'router_settings'"),
        ("a: &x 1\nb: *x", 1, "anchors and aliases"),
        ("a: [1", 1, "not valid YAML"),
        ("gateway:\n  payloads: secret", 2, "payloads must be one of full, redacted, hash, off"),
        ("gateway:\n  payloads: [off]", 2, "payloads must be one of"),
        ("gateway:\n  payloads: on", 2, "payloads must be one of"),
        ("gateway:\n  payload: off", 2, "did you mean 'payloads'"),
        ("budgets:\n  acme: {payloads: non}", 2, "payloads is one of full, redacted, hash, off"),
        ("budgets:\n  acme: {payloads: }", 2, "payloads is one of.*leave it out to inherit"),
        ("budgets:\n  acme: {payload: off}", 2, "did you mean 'payloads'"),
        ("budgets:\n  acme: [{usd: five}]", 2, "usd is dollars as a decimal string"),
        ("budgets:\n  acme: [{usd: '1', windows: day}]", 2, "unknown field 'windows'"),
        ("budgets:\n  acme/: [{usd: '1'}]", 2, "scope segment"),
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
        ("keys:\n  - {name: ci, scope: acme}", 2, "a key needs secret"),
        ("keys:\n  - {name: ci, scope: acme, secret: short}", 2, "at least 16 characters"),
        ("keys:\n  - {name: ci, scope: acme, secret: os.environ/NO}", 2, "NO, which is not set"),
        (
            f"keys:\n  - {{name: ci, scope: acme, secret: {SECRET}, expires_in: soon}}",
            2,
            "expires_in is a duration",
        ),
        (f"keys:\n  - {{name: 'a/b', scope: acme, secret: {SECRET}}}", 2, "a key's name"),
        (
            f"keys:\n  - {{name: a, scope: acme, secret: {SECRET}, subscopes: users}}",
            2,
            "session, user, tag",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    """Every kind of mistake is an error that names file, line, and what to write instead."""
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        load(tmp_path, text)
    assert f"comptroller.yaml:{line}:" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, too large or not UTF-8: the error names the file."""
    path = tmp_path / "comptroller.yaml"
    with pytest.raises(ConfigInvalid, match=r"comptroller\.yaml: cannot be read"):
        load_settings(path, {})
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigInvalid, match="not UTF-8"):
        load_settings(path, {})
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigInvalid, match="larger than"):
        load_settings(path, {})


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("COMPTROLLER_PORT", "http", "port must be a whole number"),
        ("COMPTROLLER_PORT", "99999", "from 1 to 65535"),
        ("COMPTROLLER_USAGE_COST", "maybe", "true or false"),
        ("COMPTROLLER_PAYLOADS", "none", "payloads must be one of full, redacted, hash, off"),
        ("COMPTROLLER_PAYLOADS", "", "payloads must be one of"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    variable: str, value: str, complaint: str
) -> None:
    """A bad value in the environment is an error that names its variable."""
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        load_settings(None, {variable: value})
    assert str(caught.value).startswith(variable)


PRICED = (
    "input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, "
    "max_input_tokens: 1000, max_output_tokens: 100"
)


def model(params: str, info: str = PRICED) -> str:
    """A file with one entry of model_list: parameters in line 3, model_info in line 4."""
    return (
        "model_list:\n  - model_name: mini\n"
        f"    litellm_params: {{{params}}}\n    model_info: {{{info}}}\n"
    )


def key(fields: str, name: str = "ci") -> str:
    """An entry of keys."""
    return f"  - {{name: {name}, scope: acme, {fields}}}\n"


SERVER = "model: openai/x, api_base: 'http://127.0.0.1:1/v1'"


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
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
        (f"keys:\n{key(f'secret: {SECRET}')}{key(f'secret: {SECRET}', 'b')}", 3, "in line 2"),
        (f"keys:\n{key(f'secret: {SECRET}, models: ')}", 2, "expected a list"),
        (f"keys:\n{key(f'secret: {SECRET}, budget: ')}", 2, "expected a list"),
        (f"keys:\n{key(f'secret: {SECRET}, expires_in: 0d')}", 2, "expires_in is a duration"),
        (f"keys:\n{key(f'secret: {SECRET}, delegates: maybe')}", 2, "true or false"),
        (f"keys:\n{key(f'secret: {SECRET}, delegates: ')}", 2, "true or false"),
        (f"keys:\n{key('secret: 1234567890123456')}", 2, "write it in quotes"),
        (f"keys:\n  - {{name: c, scope: {'/'.join('a' * 16)}, secret: {SECRET}}}", 2, "segments"),
        ("budgets:\n  acme:\n    limts: []", 3, "did you mean 'limits'"),
        ("budgets:\n  acme:\n    - {usd: 1}\n    - {usd: -1}", 4, "usd is dollars"),
        ("budgets:\n  acme: [{requests: 010}]", 2, "plain decimal digits"),
        ("budgets:\n  acme: [{requests: 1:30}]", 2, "plain decimal digits"),
        ("budgets:\n  no: [{usd: 1}]", 2, "write it in quotes"),
        ("port: 1\ngateway: {<<: {drain_ms: 1}}", 2, "<< is not read"),
        ("gateway: !x {drain_ms: 1}", 1, "YAML tag"),
        ('port: 1\ndata_dir: "\\U7fffffff"', 2, "out of range"),
        ("port: 1\ndata_dir: a\x01", 2, "control character"),
        ("redis_url: 'redis://h/zero'", 1, "redis_url must be"),
        ("redis_url: 'redis://h:99999'", 1, "redis_url must be"),
        ("data_dir: ''", 1, "must not be empty"),
        ("port: 1\nbudgets: " + "[" * 500_000, 2, "nested deeper"),
    ],
)
def test_what_would_fail_or_mislead_later_is_refused_now(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    """What loads can be served as it was meant: a file that would crash a worker, send a key to
    another server, widen a key or read a number differently is refused with its line."""
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        load(tmp_path, text)
    assert f"comptroller.yaml:{line}:" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        model(f"{SERVER}, api_key: !!int {SECRET}"),
        model(f"{SERVER}, api_key: !x {SECRET}"),
        model(f"{SERVER}, api_key: '{SECRET} '"),
        model(f"{SERVER}, api_key: [{SECRET}]"),
        model(f"{SERVER}, api_key: os.environ/{SECRET}"),
        model(f"model: openai/x, api_base: 'http://u:{SECRET}@h/v1'"),
        f"keys:\n{key(f'secret: {SECRET}')}{key(f'secret: {SECRET}', 'b')}",
        f"keys:\n{key(f'secret: {{a: {SECRET}}}')}",
        f"budgets:\n  acme: [{{secret: {SECRET}}}]",
        f"redis_url: 'redis://:{SECRET}@h/zero'",
        f'keys:\n{key(f"""secret: "{SECRET}""")}',
    ],
)
def test_no_complaint_repeats_a_secret(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with a secret, the message names its field and not its value."""
    with pytest.raises(ConfigInvalid) as caught:
        load(tmp_path, text)
    assert SECRET not in str(caught.value)


def test_a_password_of_the_ledger_is_not_shown(tmp_path: Path) -> None:
    """A redis_url is used as it was written, and is not in the settings' repr."""
    settings = load(tmp_path, f"redis_url: 'redis://:{SECRET}@127.0.0.1:6379/1'")
    assert settings.redis_url == f"redis://:{SECRET}@127.0.0.1:6379/1"
    assert SECRET not in repr(settings)


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


def test_a_policy_for_payloads_is_read_wherever_it_can_stand(tmp_path: Path) -> None:
    """In the section gateway, in a budget and in a key's own; unset is `full`, and inherits; `off`
    needs no quotes."""
    assert load_settings(None, {}).ledger.payloads == "full"
    text = (
        "gateway: {payloads: redacted}\n"
        "budgets:\n  acme: {payloads: off}\n  acme/x: {payloads: 'off'}\n  acme/y: [{usd: 1}]\n"
        f"keys:\n{key(f'secret: {SECRET}, budget: {{limits: [{{usd: 1}}], payloads: hash}}')}"
    )
    settings = load(tmp_path, text)
    assert settings.ledger.payloads == "redacted"
    assert [policy.payloads for _, policy in settings.budgets] == ["off", "off", None]
    assert settings.keys[0].budget.payloads == "hash"
    assert load(tmp_path, "gateway: {payloads: off}").ledger.payloads == "off"
    assert load(tmp_path, text, COMPTROLLER_PAYLOADS="hash").ledger.payloads == "hash"


def test_amounts_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Dollars without quotes lose no digit: 0.1 + 0.2 is not how a budget is read."""
    settings = load(tmp_path, "budgets:\n  acme: [{usd: 7654321.123456789}]")
    assert settings.budgets[0][1].limits[0].amount == 7_654_321_123_456_789


def test_digits_of_other_scripts_are_no_numbers() -> None:
    """What is not an ASCII number is refused, not converted."""
    with pytest.raises(ConfigInvalid, match="whole number"):
        load_settings(None, {"COMPTROLLER_PORT": "\N{ARABIC-INDIC DIGIT FOUR}"})


def test_a_key_delegates_only_where_it_says_so(tmp_path: Path) -> None:
    """Off by default."""
    text = f"keys:\n{key(f'secret: {SECRET}, delegates: true')}{key(f'secret: x{SECRET}', 'b')}"
    assert [each.delegates for each in load(tmp_path, text).keys] == [True, False]
