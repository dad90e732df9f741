"""Takes secrets and personal data out of a payload before it is kept (payload policy `redacted`).

It is a net, not a proof: shapes that are known are replaced by a mark that names them, such as
`[redacted:email]`. Only string literals of JSON are touched, so numbers, duplicate keys and depth
are no matter. Marks are not matched again, and a text is scrubbed until nothing more is found.

Every pattern is linear: repeats are possessive or bounded, and where a long run may fail, it cannot
be tried from its middle. Most start with a fixed text, which the engine finds at memory speed.
"""

import binascii
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import NamedTuple

MEDIA_CHARS_MIN = 512
"""A run of base64 that is at least this long is taken for an image, a sound or a file."""
PASSES_MAX = 4
"""A text in which this many passes still find something was built for that: it goes whole."""
_LOCAL_CHARS_MAX = 64  # RFC 5321, 4.5.3.1.1
_ADDRESS_CHARS_MAX = 45  # IPv6 with an IPv4 tail
_HIDDEN_VALUE = "[redacted:secret]"


class _Found(NamedTuple):
    """What a judge says: the mark goes from `start` to `end`; mark None: go on behind `end`."""

    start: int
    end: int
    mark: str | None


_Judge = Callable[[str, re.Match[str], int], _Found | None]


class _Rule(NamedTuple):
    """`triggers`: lower-case texts without one of which the rule finds nothing; empty: always."""

    triggers: tuple[str, ...]
    scrub: Callable[[str], str]


def redacted(payload: bytes) -> bytes:
    """The payload with marks for what was found. JSON keeps its shape and its keys, anything else
    is scrubbed as text; bytes that are no UTF-8 are kept, in JSON that changes as escapes.
    Besides strings only `"bytes": [72, 105]` goes: log probabilities spell the text with it."""
    text = payload.decode("utf-8", "surrogateescape")
    rules = _active(text)
    if _JSON.fullmatch(text) is not None:
        text = _JsonScrubber(rules).scrubbed(text)
    else:
        text = _scrubbed(text, rules)
        if _JSON.fullmatch(text) is not None:  # scrubbing made it so: once must be enough
            text = _JsonScrubber(_RULES).scrubbed(text)
    return text.encode("utf-8", "surrogateescape")


def _active(text: str) -> Sequence[_Rule]:
    """The rules that can find something. An escape in JSON may hide any character of ASCII."""
    if _HIDING_ESCAPE.search(text):
        return _RULES
    folded = text.lower()
    there = {each for rule in _RULES for each in rule.triggers if each in folded}
    return [rule for rule in _RULES if not rule.triggers or not there.isdisjoint(rule.triggers)]


def _scrubbed(text: str, rules: Sequence[_Rule]) -> str:
    for _ in range(PASSES_MAX):
        before = text
        for rule in rules:
            text = rule.scrub(text)
        if text == before:
            return text
    return "[redacted:text]"


# JSON is taken by its tokens: as a tree it would have a depth, and its numbers a precision.
_LITERAL = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NUMBER = r"-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+(?=\s*+(?:[,\]}]|\Z))"
_JSON = re.compile(
    rf"\s*+(?:[\[{{](?:[\[\]{{}}:,\s]++|true|false|null|NaN|-?Infinity|{_NUMBER}|{_LITERAL})*+"
    rf"|(?:{_NUMBER}|{_LITERAL})\s*+)",
    re.DOTALL,
)
_STRING = re.compile(_LITERAL, re.DOTALL)
_FLAT = rf'\[[^\[\]{{}}"]*+(?:{_LITERAL}[^\[\]{{}}"]*+)*+\]'
_MEMBER = re.compile(
    rf"(?P<first>{_LITERAL})(?:(?P<colon>\s*+:\s*+)(?:(?P<text>{_LITERAL})|(?P<flat>{_FLAT}))?)?",
    re.DOTALL,
)
_HIDING_ESCAPE = re.compile(r"\\u00[2-7]")
_LONE = re.compile(r"[\ud800-\udfff]")
_SECRET_NAMES = (
    *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "secretkey", "apikey"),
    *("apikeys", "accesskey", "privatekey", "signingkey", "encryptionkey", "masterkey", "token"),
    *("authorization", "cookie", "cookies", "credential", "credentials", "bearer"),
)


class _JsonScrubber:
    """Scrubs the string values of one JSON text."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self._rules = rules
        self._remembered: dict[str, str] = {}
        self._secret: dict[str, bool] = {}

    def scrubbed(self, text: str) -> str:
        """The text with its string values scrubbed."""
        return _MEMBER.sub(self._member, text)

    def _member(self, match: re.Match[str]) -> str:
        first, colon, text, flat = match.groups()
        if colon is None:
            return self._literal(first)
        if text is not None:
            hidden = len(text) > 2 and self._is_secret(first)
            return first + colon + (f'"{_HIDDEN_VALUE}"' if hidden else self._literal(text))
        if flat is None:
            return match.group()
        if first == '"bytes"' and '"' not in flat:
            return f"{first}{colon}null"
        if self._is_secret(first):
            return first + colon + _STRING.sub(f'"{_HIDDEN_VALUE}"', flat)
        return first + colon + _STRING.sub(lambda each: self._literal(each.group()), flat)

    def _is_secret(self, key: str) -> bool:
        """Whether a key names a secret, however its words are joined (`x-api-key`, `apiKey`)."""
        if key not in self._secret:
            letters = "".join(filter(str.isalnum, _decoded(key).lower()))
            self._secret[key] = letters.endswith(_SECRET_NAMES)
        return self._secret[key]

    def _literal(self, literal: str) -> str:
        if literal not in self._remembered:  # names and roles come again and again
            self._remembered[literal] = _scrubbed_literal(literal, self._rules)
        return self._remembered[literal]


def _scrubbed_literal(literal: str, rules: Sequence[_Rule]) -> str:
    text = _decoded(literal)
    scrubbed = _scrubbed(text, rules)
    if scrubbed == text:
        return literal
    encoded = json.dumps(scrubbed, ensure_ascii=False)
    return _LONE.sub(lambda each: f"\\u{ord(each.group()):04x}", encoded)


def _decoded(literal: str) -> str:
    """The text of a literal. The standard library's parser, unlike msgspec, takes lone surrogates;
    a literal with escapes that do not exist is read as it stands."""
    try:
        return str(json.loads(literal, strict=False)) if "\\" in literal else literal[1:-1]
    except ValueError:
        return literal[1:-1]


_ESCAPED = r"(?<=\\[nrtbf]"  # a new line of JSON in a string starts after an escape: `\\nsk-...`


def _fixed(mark: str, pattern: str, *triggers: str) -> _Rule:
    """A rule whose every match is replaced; group 1, if there is one, stays in front."""
    compiled = re.compile(pattern, re.ASCII)
    replacement = rf"\g<1>[redacted:{mark}]" if compiled.groups else f"[redacted:{mark}]"
    return _Rule(triggers, lambda text: compiled.sub(replacement, text))


def _token(mark: str, prefix: str, rest: str, *triggers: str, inside: str = "A-Za-z0-9") -> _Rule:
    """A rule for tokens that start with a text of fixed length and not inside a word."""
    start = rf"{prefix}(?:(?<![{inside}]{prefix})|{_ESCAPED}{prefix}))"
    return _fixed(mark, start + rest, *(triggers or (prefix.lower(),)))


def _judged(pattern: str, judge: _Judge, *triggers: str, folded: bool = False) -> _Rule:
    """A rule whose matches are looked at; what is refused is tried again one character on.
    `folded`: the pattern is of lower case, and the search is too."""
    search = re.compile(pattern, re.ASCII).search

    def scrub(text: str) -> str:
        # The only letter whose lower case is longer than itself would shift what follows.
        searched = text.replace("\u0130", "I").lower() if folded else text
        match = search(searched)
        pieces: list[str] = []
        kept = 0
        while match is not None:
            found = judge(text, match, kept)
            at = match.start() + 1
            if found is not None:
                at = max(at, found.end)
                if found.mark is not None:
                    pieces += (text[kept : found.start], found.mark)
                    kept = found.end
            match = search(searched, at)
        return "".join(pieces) + text[kept:] if pieces else text

    return _Rule(triggers, scrub)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_base64_run = re.compile(r"[A-Za-z0-9+/]*+={0,2}+")
_data_url = re.compile(
    r"data:[\w.+-]{0,64}+(?:/[\w.+-]{1,96}+)?+(?:;(?!base64,)[\w.+=-]{1,128}+){0,8}+;base64,"
    r"([A-Za-z0-9+/_-]++={0,2}+)"
)


def _media(base64: str) -> str:
    """The mark for media: SHA-256 and size of the bytes, so that equal files can be told."""
    digits = base64.rstrip("=").replace("-", "+").replace("_", "/")
    digits = digits[:-1] if len(digits) % 4 == 1 else digits
    data = binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
    return f"[redacted:media sha256={hashlib.sha256(data).hexdigest()} bytes={len(data)}]"


def _long_base64(text: str) -> str:
    """A long run covers one of the places that are looked at: nothing else of the text is read."""
    pieces: list[str] = []
    kept = 0
    for at in range(MEDIA_CHARS_MIN - 1, len(text), MEDIA_CHARS_MIN):
        start = max(kept, at - MEDIA_CHARS_MIN)
        start += len(text[start:at].rstrip(_LETTERS + "+/"))
        run = _base64_run.match(text, start)
        if at >= kept and run is not None and run.end() - start >= MEDIA_CHARS_MIN:
            pieces += (text[kept:start], _media(run.group()))
            kept = run.end()
    return "".join(pieces) + text[kept:] if pieces else text


_ASSIGNED = (
    r"(?:(?P<header>authorization|cookie)|token|(?:password|passwd|passphrase|pwd|credential"
    r"|secret(?:[_-]?(?:access[_-]?)?key)?|(?:api|access|private|signing)[ _-]?key)s?)"
    r"(?P<quote>[\"'\\]{0,8}+)[ \t]{0,4}+(?::=|=>|[:=])(?!=)[ \t]{0,8}+"
)
_ASSIGNED_TRIGGERS = ("pass", "pwd", "token", "credential", "secret", "key", "authoriz", "cookie")
_assigned_value = re.compile(
    r'"((?:[^"\\\r\n]|\\.)++)'
    r"|'((?:[^'\\\r\n]|\\.)++)|\\++[\"']([^\"'\\\r\n]++)"
    r"|([^\s\"'\\,;&<>{}()\[\]][^\s\"'\\,;&<>]{3,}+)"
)
_header_value = re.compile(
    r"((?:basic|bearer|digest|negotiate|token|apikey|aws4-hmac-sha256)[ \t][^\r\n\"'\\]++"
    r"|[^\s\"'\\=;,]{1,128}+=[^\r\n\"'\\]++)",
    re.IGNORECASE,
)
_no_secret = re.compile(r"\[redacted:[^\]]{1,120}\]|true|false|null|none|undefined", re.IGNORECASE)


def _assigned(text: str, name: re.Match[str], _kept: int) -> _Found | None:
    """`password=...`, `"api_key": "..."`, also inside JSON that is a string in a string."""
    value = _header_value.match(text, name.end()) if name["header"] else None
    value = value or _assigned_value.match(text, name.end())
    if value is None:
        return None
    said = value[value.lastindex or 0]
    if value.lastindex == 4:
        said = said.rstrip(")}]")
        if name["quote"] and not said.strip("-.0123456789"):
            return None  # a number in JSON
    if _no_secret.fullmatch(said):
        return None
    start = value.start(value.lastindex or 0)
    return _Found(start, start + len(said), _HIDDEN_VALUE)


_MAIL_DOMAIN = r"@(?:[^\W_][\w-]{0,62}\.){1,8}(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24}+)"
# ISO 13616: how long an account number is in each country.
_IBAN_CHARS = (
    "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24"
    "FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32"
    "LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24"
    "RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"
)
_IBAN_LENGTHS = {_IBAN_CHARS[n : n + 2]: int(_IBAN_CHARS[n + 2 : n + 4]) for n in range(0, 356, 4)}
_IBAN_VALUES = {ord(char): str(int(char, 36)) for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_IBAN = rf"[A-Z](?:(?<!\w.)|{_ESCAPED}.))[A-Z]\d\d(?: ?[A-Z\d]{{4}}){{2,7}}(?: ?[A-Z\d]{{1,3}})?+"
# ISO/IEC 7812: first digits and lengths that are in use.
_card_number = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[0-9]{15}|2[2-7][0-9]{14}|3[47][0-9]{13}"
    r"|3[0689][0-9]{12}|35[0-9]{14}|6[0-9]{15,18}"
)
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice the digit, its own digits summed
_NUMBER_START = rf"[0-9+(](?:(?<![0-9A-Za-z_].)(?<![0-9][.,].)|{_ESCAPED}.))[0-9 ().+/-]{{6}}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_personal_number = re.compile(
    rf"(?P<ip>(?:{_OCTET}\.){{3}}{_OCTET}(?!\.?[0-9]))"
    r"|(?P<card>[0-9]{13,19}(?![0-9A-Za-z])"
    r"|[0-9]{4}([ -])[0-9]{4}\3[0-9]{4}\3[0-9]{1,7}(?:\3[0-9]{3})?(?![0-9])"
    r"|3[0-9]{3}([ -])[0-9]{6}\4[0-9]{4,5}(?![0-9]))"
    # 000, 666 and 900 to 999 are never issued (SSA, POMS RM 10201.035).
    r"|(?P<ssn>(?<![0-9]-)(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9]))"
    r"|(?P<phone>\+(?!(?:19|20)[0-9]{2}-[0-9]{2}-)[1-9](?:[ ./-]?\(?[0-9]\)?){7,14}(?![0-9])"
    r"|(?<![0-9][ ./:-])(?:(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[0-9]{3}"
    r"[ .-][0-9]{4}|(?:\(0[1-9][0-9]{0,3}\) ?|0[1-9][0-9]{0,3}[ /-])[0-9]{3,4}[ -]?[0-9]{3,5}"
    r"|0[1-9](?:[ .][0-9]{2}){4})(?![0-9]))"
)
_escape = re.compile(r"\\(?:[nrtbf]|u[0-9A-Fa-f]{4})")
_word_starts = re.compile(rf"(?<!\w)|{_ESCAPED})", re.ASCII)
_word_ends = re.compile(r"(?!\w)", re.ASCII)
_address = re.compile(r"[0-9A-Fa-f:.]*+")


def _mail(text: str, domain: re.Match[str], kept: int) -> _Found | None:
    """Looks back from the `@`: the other way round every word would be tried."""
    at = domain.start()
    start = max(kept, at - _LOCAL_CHARS_MAX)
    start += len(text[start:at].rstrip(_LETTERS + "._%+-~"))
    if start and (escape := _escape.match(text, start - 1)):  # of JSON inside a string
        start = escape.end()
    start = at - len(text[start:at].lstrip(".-"))
    return _Found(start, domain.end(), "[redacted:email]") if start < at else None


def _account(text: str, iban: re.Match[str], _kept: int) -> _Found | None:
    """Length by country, then the check digits (ISO 7064, MOD 97-10)."""
    number = iban[0].replace(" ", "")[: _IBAN_LENGTHS.get(iban[0][:2], 0)]
    if len(number) != _IBAN_LENGTHS.get(number[:2]):
        return None
    if int((number[4:] + number[:4]).translate(_IBAN_VALUES)) % 97 != 1:
        return None
    end = iban.start() + len(number)
    while len(text[iban.start() : end].replace(" ", "")) < len(number):
        end += 1
    return _Found(iban.start(), end, "[redacted:iban]") if _word_ends.match(text, end) else None


def _personal(text: str, start: re.Match[str], _kept: int) -> _Found | None:
    number = _personal_number.match(text, start.start())
    if number is None:
        return None
    if number.lastgroup != "card":
        return _Found(number.start(), number.end(), f"[redacted:{number.lastgroup}]")
    for said in dict.fromkeys((number[0], number[0][:19])):  # the fifth group may be the code
        digits = said.replace(" ", "").replace("-", "")
        if _card_number.fullmatch(digits) and _passes_luhn(digits):
            return _Found(number.start(), number.start() + len(said), "[redacted:card]")
    return None


def _passes_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


def _address_v6(text: str, colon: re.Match[str], kept: int) -> _Found | None:
    start = max(kept, colon.start() - _ADDRESS_CHARS_MAX)
    start += len(text[start : colon.start()].rstrip("0123456789abcdefABCDEF:"))
    run = _address.match(text, start)
    said = run[0].rstrip(".") if run else ""
    said = said if said.endswith("::") else said.rstrip(":")
    end = start + len(said)
    # a::b is an address too, but it is more often a name in a program
    looks = said.count(":") == 7 or ("::" in said and said.find(":") == 4)
    alone = _word_starts.match(text, start) and _word_ends.match(text, end)
    if looks and alone and len(said) <= _ADDRESS_CHARS_MAX:
        try:
            IPv6Address(said)
        except ValueError:
            return _Found(start, end, None)
        return _Found(start, end, "[redacted:ip]")
    return _Found(start, end, None)


_PEM = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[A-Za-z0-9+/=\s:,.()]|\\++[nrt]|-(?!----)){0,16384}+"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?+"
)
_JWT = r"[\w-]{8,}+(?:\.\.[\w-]++|\.[\w-]{8,}+)(?:\.[\w-]++){0,3}+"
_USERINFO = r"(://[^\s/@:\"'<>\\\[\]]{0,256}+:)(?!\[redacted)[^\s/\"'<>\\]{1,256}(?=@)"
_BEARER = r"(earer[ \t]{1,4}+)(?=[A-Za-z._~+/=-]{0,200}+[0-9]|[A-Za-z._~+/=-]{24})[\w.~+/=-]{8,}+"
_RULES = (
    _fixed("private_key", _PEM, "private key"),
    _token("jwt", "eyJ", _JWT, inside=r"\w-"),
    _Rule((";base64,",), lambda text: _data_url.sub(lambda url: _media(url[1]), text)),
    _Rule((), _long_base64),
    _fixed("password", _USERINFO, "://"),
    _token("anthropic_key", "sk-ant-", r"[\w-]{16,}", "sk-"),
    _token("openai_key", "sk-", r"(?=[A-Za-z_-]{0,200}+[0-9])[\w-]{16,}"),
    _token("comptroller_key", "ck-", r"[\w-]{43,}"),
    _token("aws_key", "A[KS]IA", "[A-Z0-9]{16}(?![A-Z0-9])", "akia", "asia"),
    _token("github_token", "gh[pousr]_", r"\w{20,}", "gh"),
    _token("github_token", "github_pat_", r"\w{20,}"),
    _token("gitlab_token", "glpat-", r"[\w-]{20,}+(?:\.[\w-]{1,64}+){0,3}+"),
    _token("slack_token", "xox[a-z]-", "[A-Za-z0-9-]{10,}", "xox"),
    _token("slack_token", "xapp-", "[A-Za-z0-9-]{10,}"),
    _token("google_key", "AIza", r"[\w-]{35,}"),
    _token("stripe_key", "[sr]k_(?:live|test)_", r"\w{16,}", "k_live_", "k_test_"),
    _token("stripe_key", "whsec_", r"[\w+/=]{16,}"),
    _token("huggingface_token", "hf_", "[A-Za-z0-9]{30,}"),
    _fixed("bearer", _BEARER, "bearer"),
    _judged(_ASSIGNED, _assigned, *_ASSIGNED_TRIGGERS, folded=True),
    _judged(_MAIL_DOMAIN, _mail, "@"),
    _judged(_IBAN, _account),
    _judged(_NUMBER_START, _personal),
    _judged(r":[0-9A-Fa-f]{0,4}:", _address_v6, ":"),
)
