"""A LiteLLM file says who is tried when somebody fails: as it is, or with a line and a reason."""

from pathlib import Path

import pytest

from budgets.keys import Key
from comptroller.document import ConfigInvalid
from comptroller.parts import routes_of
from comptroller.settings import Settings, load_settings
from gateway.upstream import PooledUpstream

PRICED = (
    "{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, "
    "max_input_tokens: 1000, max_output_tokens: 100}"
)


def entry(name: str, host: str = "a", params: str = "") -> str:
    """One of model_list, two lines."""
    server = f"model: openai/x, api_base: 'http://{host}/v1'{params}"
    return f"  - {{model_name: {name}, model_info: {PRICED},\n     litellm_params: {{{server}}}}}\n"


MODELS = f"model_list:\n{entry('m')}{entry('m', 'b')}{entry('n')}"
# As LiteLLM's own documentation writes such a file, every section in it.
WHOLE = f"""
environment_variables:
  PROVIDER_KEY: sk-of-the-provider
model_list:
{entry("m", "a", ", weight: 3, order: 1, api_key: os.environ/PROVIDER_KEY, timeout: 30")}\
{entry("m", "b", ", weight: 0.5, order: 1, max_retries: 1, stream_timeout: 5")}\
{entry("m", "b", ", order: 2")}\
{entry("n")}\
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 3
  retry_after: 5
  timeout: 120
  allowed_fails: 1
  cooldown_time: 30.5
  fallbacks: [{{m: [n]}}]
  default_fallbacks: [m]
  context_window_fallbacks: [{{n: [m]}}]
  content_policy_fallbacks: null
  model_group_alias: {{old: m, older: {{model: n, hidden: true}}}}
  retry_policy: {{RateLimitErrorRetries: 0, TimeoutErrorRetries: 1, BadRequestErrorRetries: 0}}
litellm_settings:
  num_retries: 7
  request_timeout: 60
  drop_params: true
  set_verbose: false
  content_policy_fallbacks: [{{m: [n]}}]
general_settings:
  master_key: sk-0123456789abcdef
"""


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Settings from a file with this text."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_settings(path, environment)


def test_a_whole_file_is_read_as_it_is(tmp_path: Path) -> None:
    """Every section; router_settings wins over litellm_settings, null says nothing."""
    settings = load(tmp_path, WHOLE)
    rules = settings.router.rules
    assert (rules.retries, rules.wait_ms_least, rules.allowed_fails) == (3, 5_000, 1)
    assert (rules.cooldown_ms, rules.retry_unknown) == (30_500, False)
    assert rules.fallbacks == {"m": ("n",), "*": ("m",)}
    assert rules.too_long_fallbacks == {"n": ("m",)}
    assert rules.against_policy_fallbacks == {"m": ("n",)}
    assert rules.retries_by_kind == {"rate_limited": 0, "unknown": 1}
    assert settings.router.aliases == {"old": "m", "older": "n"}
    assert settings.admin_token == "sk-0123456789abcdef"
    assert "sk-0123456789abcdef" not in repr(settings)
    assert settings.models[0].api_key == "sk-of-the-provider"
    assert [(each.timeout_ms, each.stream_timeout_ms) for each in settings.models] == [
        (30_000, 30_000),
        (120_000, 5_000),
        (120_000, 120_000),
        (120_000, 120_000),
    ]


async def test_deployments_are_served_as_the_file_weighs_them(tmp_path: Path) -> None:
    """Of one name: weight, order, retries, and a name of their own that holds no key; an alias is
    the model that it stands for."""
    settings = load(tmp_path, WHOLE)
    upstream = PooledUpstream()
    routes = routes_of(settings, upstream, upstream)
    pool = routes.find(
        Key(id="k", name="k", scope="acme", created_at_ms=0), "old", "/v1/chat/completions"
    )
    assert [(each.weight, each.order, each.retries) for each in pool.deployments] == [
        (3_000, 1, None),
        (500, 1, 1),
        (0, 2, None),
    ]
    names = [each.deployment for each in pool.deployments]
    assert names == ["m openai/x http://a/v1", "m openai/x http://b/v1", "m openai/x http://b/v1 2"]
    await upstream.close()


def test_without_a_word_the_defaults_of_litellm_hold(tmp_path: Path) -> None:
    """Two retries, three failures, five seconds; and what may have worked is not tried again."""
    rules = load(tmp_path, MODELS).router.rules
    assert (rules.retries, rules.allowed_fails, rules.cooldown_ms) == (2, 3, 5_000)
    assert not rules.retry_unknown
    assert load(tmp_path, f"{MODELS}gateway: {{retry_unknown: true}}").router.rules.retry_unknown
    assert load(tmp_path, f"{MODELS}router_settings: {{disable_cooldowns: true}}").router.rules == (
        type(rules)(retries=2, cooldown_ms=0)
    )


def test_a_section_with_nothing_in_it_says_nothing(tmp_path: Path) -> None:
    """As exports leave it."""
    text = f"{MODELS}router_settings:\nlitellm_settings: {{}}\ngeneral_settings: {{master_key: }}\n"
    settings = load(tmp_path, f"{text}environment_variables:\n")
    assert settings.router.rules == load(tmp_path, MODELS).router.rules
    assert settings.admin_token == ""


def of(section: str, said: str) -> str:
    """A file whose line 8 has this field of a section."""
    return f"{MODELS}{section}:\n  {said}\n"


@pytest.mark.parametrize(
    ("section", "said", "complaint"),
    [
        ("router_settings", "routing_strategy: least-busy", "routing_strategy is simple-shuffle"),
        ("router_settings", "num_retries: -1", "num_retries is a whole number from 0 to 10"),
        ("router_settings", "num_retries: true", "num_retries is a whole number"),
        ("router_settings", "timeout: soon", "timeout is a number of seconds"),
        ("router_settings", "cooldown_time: 1e9", "cooldown_time is a number of seconds"),
        ("router_settings", "num_retires: 1", "did you mean 'num_retries'"),
        ("router_settings", "redis_host: h", "redis_host is not supported.*redis_url"),
        ("router_settings", "enable_pre_call_checks: true", "order holds without it"),
        ("router_settings", "fallbacks: [{m: [o]}]", "fallbacks names 'o', which is not in"),
        ("router_settings", "fallbacks: {m: [n]}", "fallbacks: expected a list"),
        ("router_settings", "fallbacks: [{m: [n]}, {m: [n]}]", "'m' are there already"),
        ("router_settings", "default_fallbacks: [o]", "default_fallbacks names 'o'"),
        ("router_settings", "model_group_alias: {m: n}", "'m' is a model_name already"),
        ("router_settings", "model_group_alias: {a: o}", "'a' is an alias of what is not in"),
        ("router_settings", "model_group_alias: {a: {hidden: true}}", "'a' needs model"),
        ("router_settings", "retry_policy: {BadRequestErrorRetries: 1}", "must be 0"),
        ("router_settings", "retry_policy: {RateLimitErrorRetries: 1.5}", "a whole number"),
        ("router_settings", "disable_cooldowns: 1", "disable_cooldowns is true or false"),
        ("litellm_settings", "success_callback: [langfuse]", "success_callback is not supported"),
        ("litellm_settings", "cache: true", "cache is not supported"),
        ("litellm_settings", "drop_params: 1", "drop_params is true or false"),
        ("litellm_settings", "routing_strategy: x", "unknown field 'routing_strategy'"),
        ("general_settings", "database_url: postgresql://x", "database_url is not supported"),
        ("general_settings", "master_key: sk-1234", "at least 16 characters"),
        ("general_settings", "master_keys: x", "did you mean 'master_key'"),
        ("environment_variables", "HTTPS_PROXY: x", "from the real environment only"),
        ("environment_variables", "COMPTROLLER_PORT: '1'", "from the real environment only"),
        ("environment_variables", "a-b: x", "letters, digits and _"),
        (
            "environment_variables",
            "AWS_ACCESS_KEY_ID: AKIA",
            "litellm_params of each entry.*aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID",
        ),
        ("environment_variables", "MISTRAL_API_KEY: k", "in api_key: os.environ/MISTRAL_API_KEY"),
        ("environment_variables", "REDIS_HOST: h", "as os.environ/REDIS_HOST, or remove it"),
    ],
)
def test_what_is_not_obeyed_is_named_with_its_line(
    tmp_path: Path, section: str, said: str, complaint: str
) -> None:
    """Nothing that LiteLLM would obey is ignored in silence."""
    with pytest.raises(ConfigInvalid, match=complaint) as caught:
        load(tmp_path, of(section, said))
    assert "config.yaml:9:" in str(caught.value)


def test_a_variable_that_the_file_sets_is_read_where_the_file_names_it(tmp_path: Path) -> None:
    """In any section but its own, which LiteLLM looks up in the real environment; null is not
    set."""
    keys = "keys: [{name: ci, scope: a, secret: os.environ/CI_KEY}]\n"
    text = f"{MODELS}{keys}environment_variables:\n  CI_KEY: os.environ/REAL\n  UNREAD:\n"
    settings = load(tmp_path, text, REAL="ck-a-secret-of-some-length", CI_KEY="ck-another-secret")
    assert settings.keys[0].secret == "ck-a-secret-of-some-length"
    with pytest.raises(ConfigInvalid, match=r"config\.yaml:12: REAL is named nowhere"):
        load(tmp_path, f"{text}  REAL: ck-of-the-file-itself\n", REAL="x")


def test_a_process_that_does_not_read_a_variable_need_not_have_what_it_names(
    tmp_path: Path,
) -> None:
    """The admin token is kept from the processes of `up`, which do not read master_key."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"{MODELS}general_settings: {{master_key: os.environ/LITELLM_MASTER_KEY}}\n"
        "environment_variables:\n  LITELLM_MASTER_KEY: os.environ/COMPTROLLER_ADMIN_TOKEN\n"
    )
    token = "sk-0123456789abcdef"
    assert load_settings(path, {"COMPTROLLER_ADMIN_TOKEN": token}).admin_token == token
    assert load_settings(path, {}, admin_token=False).admin_token == ""
    unset = r"config\.yaml:10: .*COMPTROLLER_ADMIN_TOKEN, which is not set"
    with pytest.raises(ConfigInvalid, match=unset):
        load_settings(path, {})


@pytest.mark.parametrize("limit", ["rpm", "tpm", "max_parallel_requests"])
def test_a_limit_of_a_deployment_is_a_budget(tmp_path: Path, limit: str) -> None:
    """Named with the budget that holds it, where LiteLLM reads it."""
    text = f"model_list:\n{entry('m', 'a', f', {limit}: 5')}"
    with pytest.raises(ConfigInvalid, match=f"config.yaml:3: {limit} is not supported.*budget"):
        load(tmp_path, text)


def test_two_deployments_are_not_one(tmp_path: Path) -> None:
    """An id of model_info names one of them."""
    text = f"model_list:\n{entry('m')}{entry('m')}".replace("{input", "{id: one, input")
    with pytest.raises(ConfigInvalid, match="the id 'one' of an earlier entry"):
        load(tmp_path, text)
