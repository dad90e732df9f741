"""Settings: what file and environment say is what the gateway gets, or a clear complaint."""

import dataclasses
from pathlib import Path

import pytest

from comptroller.document import FILE_BYTES_MAX, ConfigInvalid
from comptroller.options import OPTIONS
from comptroller.settings import load_settings
from pricing import DEMO_PRICES
from tests.comptroller.declaring import SECRET, SERVER, key, load, model


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


def test_secrets_come_from_the_environment_and_are_never_shown(tmp_path: Path) -> None:
    """`os.environ/NAME` is read, and neither it nor a provider's key is in the settings' repr."""
    text = model("model: openai/gpt-5-mini, api_key: sk-provider-secret")
    settings = load(tmp_path, f"{text}keys:\n{key('secret: os.environ/CI_KEY')}", CI_KEY=SECRET)
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


@pytest.mark.parametrize(
    ("text", "line", "complaint"),
    [
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
    """What loads can be served as it was meant: a file that would crash a worker, widen a key or
    read a number differently is refused with its line."""
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
