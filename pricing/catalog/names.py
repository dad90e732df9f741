"""The names under which a list may know a model: a table of rewritings, each with its reason.

A prefix that happens to fit (`gpt-5` for `gpt-5.5-pro`) is the classic way to a price that is ten
times too low. So a name is found as it is written, or as one of the rules below rewrites it, and
otherwise not at all. Sources: Anthropic, "Models overview" (dated snapshots, `@` on Vertex AI);
AWS, "Supported Regions and models for inference profiles"; Google, `models/` resource names;
OpenAI, "Fine-tuning" (`ft:<model>:<organisation>::<id>`).
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pricing.catalog.providers import Provider

NAME_CHARS_MAX = 256
REWRITINGS_MAX = 4
"""Rules that one name can need in turn: an ARN with a region, a geography and a version."""

_DATE = re.compile(r"[-@](20[0-9]{2})-?(0[1-9]|1[0-2])-?(0[1-9]|[12][0-9]|3[01])")
_ELSEWHERE = re.compile(r"(eu|apac|au|jp|ca)\.")  # not us-gov, which costs more
_BEDROCK_VERSION = re.compile(r"(.+)-v[0-9](:[0-9])?")
_DOTTED = re.compile(r"claude-[a-z]+-[0-9]\.[0-9].*|claude-[0-9]\.[0-9]-.*")
_PROFILE_ARN = re.compile(r"arn:aws:bedrock:[a-z0-9-]+:[0-9]*:inference-profile/([^/]+)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewriting: what it is for (shown to users), for whom (empty: all), what it does."""

    what: str
    providers: tuple[str, ...]
    rewrite: Callable[[str], tuple[str, ...]]


def _without_date(name: str) -> tuple[str, ...]:
    found = _DATE.search(name)
    return (name[: found.start()],) if found and found.end() == len(name) else ()


def _only_snapshot(name: str) -> tuple[str, ...]:
    """Claude models up to 3.7 had one snapshot under `-latest` at last."""
    return tuple(f"{each}-latest" for each in _without_date(name) if name.startswith("claude-3-"))


def _without_end(*ends: str) -> Callable[[str], tuple[str, ...]]:
    return lambda name: tuple(name.removesuffix(end) for end in ends if name.endswith(end))


def _without_start(*starts: str) -> Callable[[str], tuple[str, ...]]:
    return lambda name: tuple(
        name.removeprefix(start) for start in starts if name.startswith(start)
    )


def _dashed(name: str) -> tuple[str, ...]:
    return (name.replace(".", "-"),) if _DOTTED.fullmatch(name) else ()


def _bedrock_geography(name: str) -> tuple[str, ...]:
    """A profile of a geography. Claude has the regional premium in each; of others only those of
    the USA cost what is listed without a geography, Europe and Asia pay more."""
    if name.startswith("us."):
        rest = name.removeprefix("us.")
        return (f"regional.{rest}", rest)
    found = _ELSEWHERE.match(name)
    rest = name[found.end() :] if found else ""
    return (f"regional.{rest}",) if rest.startswith("anthropic.") else ()


def _bedrock_in_region(name: str) -> tuple[str, ...]:
    """Claude without a profile runs in one region, which has the regional premium."""
    return (f"regional.{name}",) if name.startswith("anthropic.") else ()


def _bedrock_version(name: str) -> tuple[str, ...]:
    """Newer models have no version in their id; lists write it for some of them all the same."""
    found = _BEDROCK_VERSION.fullmatch(name)
    return (found[1],) if found else (f"{name}-v1:0",)


def _of_profile(name: str) -> tuple[str, ...]:
    """The ARN of an inference profile, whose id says the geography. Those of models do not, and an
    application's own profile can be of anything."""
    found = _PROFILE_ARN.fullmatch(name)
    return (found[1],) if found else ()


def _fine_tuned(name: str) -> tuple[str, ...]:
    parts = name.split(":")
    return (":".join(parts[:2]),) if parts[0] == "ft" and len(parts) > 2 else ()


RULES = (
    Rule("resource name", ("google", "vertex"), _without_start("models/")),
    Rule("resource name", ("vertex",), _without_start(
        "publishers/google/models/", "publishers/anthropic/models/")),
    Rule("profile's ARN", ("bedrock",), _of_profile),
    Rule("geography", ("bedrock",), _bedrock_geography),
    Rule("in-region", ("bedrock",), _bedrock_in_region),
    Rule("version", ("bedrock",), _bedrock_version),
    Rule("fine-tuned", ("openai", "azure"), _fine_tuned),
    Rule("dotted version", ("anthropic", "vertex"), _dashed),
    Rule("dated snapshot", (), _without_date),
    Rule("only snapshot", ("anthropic",), _only_snapshot),
    Rule("default version", ("vertex",), _without_end("@latest", "@default")),
)  # fmt: skip


def candidates(provider: Provider, model: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(name, the rules that made it) of what `model` can be listed as, the closest first.

    Lower case throughout: providers and lists ignore it. The name itself comes first, with no rule.
    """
    name = model.strip().casefold()
    if not name or len(name) > NAME_CHARS_MAX:
        return
    rules = [_own_prefix(provider), *(each for each in RULES if _is_for(each, provider))]
    seen: dict[str, tuple[str, ...]] = {name: ()}
    waiting = deque(seen)
    while waiting:
        known = waiting.popleft()
        yield known, seen[known]
        if len(seen[known]) == REWRITINGS_MAX:
            continue
        for rule in rules:
            for rewritten in rule.rewrite(known):
                if rewritten and rewritten not in seen:
                    seen[rewritten] = (*seen[known], rule.what)
                    waiting.append(rewritten)


def _is_for(rule: Rule, provider: Provider) -> bool:
    return not rule.providers or provider.name in rule.providers


def _own_prefix(provider: Provider) -> Rule:
    """`openai/gpt-5` of OpenAI. `openai/gpt-oss-20b` of Groq is that model's whole name."""
    prefixes = _without_start(*(f"{name}/" for name in provider.names))
    return Rule("provider prefix", (), prefixes)
