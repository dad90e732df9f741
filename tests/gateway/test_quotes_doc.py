"""docs/quotes.md, on what is asked of providers and of the ledger: its numbers are the code's, and
its example counts where it says."""

import re
from pathlib import Path

import yaml

from budgets.calibration import CALIBRATED_AFTER, MARGIN_THOUSANDTHS
from comptroller.parts import route
from comptroller.settings import load_settings
from gateway import provider_counting as asking
from gateway.counters import COUNTERS
from gateway.options import GatewayOptions
from gateway.quoting import GAIN_TOKENS_LEAST
from gateway.upstream import PooledUpstream

TEXT = (Path(__file__).parent.parent.parent / "docs" / "quotes.md").read_text(encoding="utf-8")
PROSE = " ".join(TEXT.split())


def test_the_numbers_of_counting_are_those_of_the_code() -> None:
    """How much is added, how many are asked, how long they may take, and when it is worth it."""
    assert f"fewer than {GAIN_TOKENS_LEAST} tokens of output" in PROSE
    assert asking.MARGIN_SHARE == 50
    assert f"A fiftieth and {asking.MARGIN_TOKENS} tokens are added" in PROSE
    assert f"{asking.ASKING_MAX} questions at most are open at a time" in PROSE
    assert f"none for more than {asking.ANSWER_S_MAX:g} s" in PROSE
    assert f"the last {asking.KEPT_MAX} answers are remembered" in PROSE
    assert f"left alone for {asking.PAUSE_S:g} s" in PROSE


def test_every_counter_is_in_the_table_with_its_endpoint() -> None:
    """And none that is not there."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `POST ([^`]+)`", TEXT, re.MULTILINE))
    found = {
        name: each.target(b"", "<model>").decode().replace("%3Cmodel%3E", "<model>")
        for name, each in COUNTERS.items()
    }
    assert rows == found


def test_a_learned_bound_is_as_the_text_has_it(tmp_path: Path) -> None:
    """Of so many requests, with this margin; and its example opts in."""
    assert f"seen {CALIBRATED_AFTER} settled requests" in PROSE
    assert f"after {CALIBRATED_AFTER} more requests" in PROSE
    assert (MARGIN_THOUSANDTHS, "and a quarter more" in PROSE) == (250, True)
    path = tmp_path / "comptroller.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[1], encoding="utf-8")
    (entry,) = load_settings(path, {}).models
    assert entry.calibrated


def test_the_example_counts_at_its_own_server(tmp_path: Path) -> None:
    """It loads as it stands, and asks beside what it serves."""
    example = next(each for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
    path = tmp_path / "comptroller.yaml"
    path.write_text(example, encoding="utf-8")
    assert yaml.safe_load(example)["model_list"][0]["model_info"] == {"input_counter": "anthropic"}
    (entry,) = load_settings(path, {"ANTHROPIC_API_KEY": "sk-not-a-real-key"}).models
    place = route(entry, entry.wires[0], PooledUpstream(), GatewayOptions()).counter
    assert place is not None
    assert place.target == b"/v1/messages/count_tokens"
    assert str(place.origin) == "https://api.anthropic.com:443"
