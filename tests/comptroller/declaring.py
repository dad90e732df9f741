"""Files that declare models and keys, and the settings that are read in them."""

from pathlib import Path

from comptroller.settings import Settings, load_settings

SECRET = "a-secret-of-some-length"  # of a key
PRICED = (
    "input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, "
    "max_input_tokens: 1000, max_output_tokens: 100"
)
SERVER = "model: openai/x, api_base: 'http://127.0.0.1:1/v1'"


def load(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Settings from a file with this text."""
    path = tmp_path / "comptroller.yaml"
    path.write_text(text)
    return load_settings(path, environment)


def model(params: str, info: str = PRICED) -> str:
    """A file with one entry of model_list: parameters in line 3, model_info in line 4."""
    return (
        "model_list:\n  - model_name: mini\n"
        f"    litellm_params: {{{params}}}\n    model_info: {{{info}}}\n"
    )


def key(fields: str, name: str = "ci") -> str:
    """An entry of keys."""
    return f"  - {{name: {name}, scope: acme, {fields}}}\n"
