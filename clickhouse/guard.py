"""What a reader may ask: one SELECT, EXPLAIN of one, SHOW TABLES or DESCRIBE, of our own tables.

chDB has no users, roles or row policies, so this stands in their place. The engine itself writes
the query down in its own spelling; that spelling is looked at, as tokens and as the tree that the
engine makes of it, and that spelling is what runs. Everything that is not known is refused. Rows
of other organisations are kept away by filters on the connection (`catalogue`), not by this; what
is left here is to refuse whatever could go round them or tell of a row that they drop. (What still
shows: whether a division by a sequence number of another organisation's is by zero, where that
number is one of the primary index, every 8192nd.)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from clickhouse.catalogue import Catalogue, Tables
from clickhouse.engine import DATABASE, Engine, Restrictions
from clickhouse.errors import Code, StoreRefused
from clickhouse.functions import TABLE_FUNCTIONS, Functions
from clickhouse.reading import texts
from clickhouse.sqltext import Kind, Token, called_names, defined_names, tokens, without_format
from clickhouse.syntax import Node, NotATree, parse_tree

QUERY_BYTES_MAX = 256 * 1024  # ClickHouse's max_query_size
JUDGED_MAX = 256  # verdicts kept
JUDGED_CHARACTERS_MAX = 8_192  # of a query whose verdict is kept
_FORMATTED = "SELECT formatQuerySingleLine({query:String})"
_FORMATTED_TAIL = re.compile(r": In scope SELECT formatQuerySingleLine.*", re.DOTALL)
_SHOW = re.compile(
    rf"SHOW (TABLES|DATABASES)( (FROM|IN) `?{DATABASE}`?)?"
    r"(( NOT)? I?LIKE '[^'\\]*')?( LIMIT \d+)?",
    re.IGNORECASE,
)
_STATEMENTS = ("SELECT", "WITH", "EXPLAIN", "SHOW", "DESCRIBE", "FROM")
_READERS_HAVE = "readers have SELECT, EXPLAIN of a SELECT, SHOW TABLES and DESCRIBE"
_EXPLAIN = re.compile(r"EXPLAIN( (SYNTAX|AST|QUERY TREE|PIPELINE|ESTIMATE))?")
_EXPLAIN_UNCOUNTED = frozenset({"EXPLAIN SYNTAX", "EXPLAIN AST", "EXPLAIN QUERY TREE"})
_NODES = frozenset(
    {
        *("SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExpressionList"),
        *("Literal", "Identifier", "TableIdentifier", "Function", "Subquery", "WithElement"),
        *("Asterisk", "QualifiedAsterisk", "ColumnsRegexpMatcher", "ColumnsListMatcher"),
        *("QualifiedColumnsRegexpMatcher", "QualifiedColumnsListMatcher"),
        *("ColumnsTransformerList", "ColumnsExceptTransformer", "ColumnsReplaceTransformer"),
        *("ColumnsReplaceTransformer::Replacement", "TablesInSelectQuery"),
        *("TablesInSelectQueryElement", "TableExpression", "TableJoin", "ArrayJoin"),
        *("OrderByElement", "InterpolateElement", "WindowDefinition", "WindowListElement"),
        *("SampleRatio", "DescribeQuery", "Explain"),
    }
)
_IN = re.compile(r"(global)?(not)?(null)?in(ignoreset)?", re.IGNORECASE)
# Words that stand before a bracket and call nothing.
_BEFORE_BRACKET = frozenset(
    {
        *("SELECT", "FROM", "WHERE", "HAVING", "QUALIFY", "BY", "LIMIT", "OFFSET", "ON", "USING"),
        *("IN", "NOT", "AND", "OR", "LIKE", "ILIKE", "BETWEEN", "IS", "AS", "WITH", "OVER"),
        *("JOIN", "UNION", "ALL", "DISTINCT", "EXCEPT", "INTERSECT", "REPLACE", "COLUMNS"),
        *("INTERPOLATE", "SETS", "ROLLUP", "CUBE", "TABLE", "DESCRIBE", "EXPLAIN", "THEN"),
        *("WHEN", "ELSE", "CASE", "DIV", "MOD", "FILL", "TO", "STEP", "SAMPLE", "TOTALS", "STRICT"),
        *("SYNTAX", "AST", "TREE", "PIPELINE", "ESTIMATE", "FILTER", "NULLS", "INTERVAL", "GLOBAL"),
    }
)
_SETTINGS_PROBE = "SELECT name, value, readonly FROM system.settings LIMIT 10000"
_SETTINGS_ANSWER = """
SELECT name, if(name = 'enable_http_compression', '1', value) AS value,
       toUInt8(NOT has({writable:Array(String)}, name)) AS readonly
FROM system.settings WHERE name NOT IN ('additional_table_filters', 'log_comment') LIMIT 10000
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may run, as it is run. `format_name` is "" where the query names none."""

    query: str
    format_name: str
    parameters: Mapping[str, str]
    restrictions: Restrictions


class Guard:
    """Judges queries; blocks (two small statements of the engine, about 3 ms, for one that was
    not asked lately). Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._functions = Functions(engine)
        self._catalogue = Catalogue(engine)
        self._judged = lru_cache(maxsize=JUDGED_MAX)(self._judge)

    def admit(
        self, query: str, parameters: Mapping[str, str], organisation: str | None
    ) -> Admitted:
        """The query as it may run for an account of `organisation` (None: of all). Parameters are
        in TabSeparated's escapes. Raises StoreRefused: 497 where it is not allowed, ClickHouse's
        own code where it is no query."""
        tables = self._catalogue.tables()
        judge = self._judged if len(query) <= JUDGED_CHARACTERS_MAX else self._judge
        asked = _Asked(query, _Parameters(parameters), tables.version, organisation is not None)
        text, format_name = judge(asked)
        if text == _SETTINGS_PROBE:
            return settings_answer(format_name, ())
        return Admitted(text, format_name, parameters, tables.restrictions(organisation))

    def _judge(self, asked: "_Asked") -> tuple[str, str]:
        text, format_name, words = self._spelled(asked.query)
        if text != _SETTINGS_PROBE:
            _check_words(words, restricted=asked.restricted)
            if not _SHOW.fullmatch(text):
                tables = self._catalogue.tables()
                rules = _Rules(self._functions, tables, defined_names(words), asked.restricted)
                rules.check_calls(called_names(words))
                rules.check_root(self._tree(text, asked.parameters))
        return text, format_name

    def spelled(self, query: str) -> tuple[str, str]:
        """A trusted query without its FORMAT clause, and that format. Raises StoreRefused."""
        text, format_name, _ = self._spelled(query)
        return text, format_name

    def _spelled(self, query: str) -> tuple[str, str, list[Token]]:
        if len(query.encode("utf-8", "replace")) > QUERY_BYTES_MAX:
            raise StoreRefused(
                Code.QUERY_IS_TOO_LARGE, f"a query is at most {QUERY_BYTES_MAX} bytes long"
            )
        if "\0" in query:
            raise StoreRefused(Code.SYNTAX_ERROR, "a query cannot hold a zero byte")
        try:
            text = self._engine.parse(_FORMATTED, texts({"query": query})).rstrip("\n")
        except StoreRefused as error:
            message = _FORMATTED_TAIL.sub("", error.message)
            raise StoreRefused(error.code, message) from None
        text, format_name = without_format(text, tokens(text))
        return text, format_name, tokens(text)

    def _tree(self, text: str, parameters: Mapping[str, str]) -> Node:
        try:
            return parse_tree(self._engine.parse(f"EXPLAIN AST {text}", parameters))
        except NotATree:
            raise _denied("a query whose names cannot be told from its structure") from None


class _Parameters(dict[str, str]):
    """Parameters that count as the same when their names are: a value becomes a literal wherever
    it stands (names as values, of type Identifier, are refused), so no verdict depends on it."""

    def __hash__(self) -> int:  # type: ignore[override]  # dict says None; these do not change
        return hash(frozenset(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Parameters) and self.keys() == other.keys()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a verdict depends on."""

    query: str
    parameters: _Parameters
    schema_version: int
    restricted: bool


def settings_answer(format_name: str, writable: tuple[str, ...]) -> Admitted:
    """What clickhouse-connect asks for at connect: the settings, of which only `writable` are a
    client's to set, and that results are compressed when it asks for it."""
    names = ",".join(f"'{name}'" for name in writable)
    return Admitted(
        _SETTINGS_ANSWER,
        format_name,
        {"writable": f"[{names}]"},
        Restrictions(),
    )


def is_settings_probe(text: str) -> bool:
    """Whether it is what clickhouse-connect asks at connect."""
    return text == _SETTINGS_PROBE


def _check_words(words: list[Token], *, restricted: bool) -> None:
    """What the tree does not show."""
    if words and not (words[0].is_sign("(") or words[0].is_word(*_STATEMENTS)):
        raise _denied(f"{words[0].text[:32]}: {_READERS_HAVE}")
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word.is_sign(";"):
            raise _denied("more than one statement")
        if word.is_word("INTO"):
            raise _denied("INTO: answers go to whoever asked")
        if word.is_word("SETTINGS") and following is not None and following.kind is Kind.WORD:
            raise StoreRefused(
                Code.READONLY, "SETTINGS: bounds are Comptroller's here; leave the clause out"
            )
        if restricted and word.is_word("PREWHERE"):
            raise _denied("PREWHERE: write WHERE, which runs behind your organisation's filter")
        if word.is_sign(":") and following is not None and following.is_word("IDENTIFIER"):
            raise _denied("a parameter of type Identifier: write the name itself")
        if word.kind is Kind.QUOTED and not _is_plain(word.name):
            raise _denied("a name with control characters, backslashes or `(children`")
        if word.kind is Kind.SIGN and word.text in "`\"'":
            raise _denied("a quote that is not closed")


def _is_plain(name: str) -> bool:
    return (
        name.isprintable() and "\\" not in name and "(children" not in name and "(alias" not in name
    )


class _Rules:
    """The rules for one query."""

    def __init__(
        self,
        functions: Functions,
        tables: Tables,
        defined: set[str],
        restricted: bool,
    ) -> None:
        self._functions = functions
        self._restricted = restricted
        self._visible = tables.organisations if restricted else tables.everyone
        self._existing = tables.everyone
        self._defined = defined

    def check_calls(self, names: set[str]) -> None:
        """Second net under the tree: no name before a bracket that could be a function."""
        for name in names:
            if (
                name.upper() not in _BEFORE_BRACKET
                and name not in self._defined
                and name.lower() not in TABLE_FUNCTIONS
                and name not in self._functions
            ):
                raise _no_function(name)

    def check_root(self, root: Node) -> None:
        """The whole tree. Raises StoreRefused."""
        statement = root
        if root.kind == "Explain":
            statement = self._explained(root)
        elif root.kind == "DescribeQuery":
            statement = root.children[0]
            if statement.kind != "TableExpression" or len(root.children) != 1:
                raise _denied("this DESCRIBE")
        if statement.kind not in {"SelectWithUnionQuery", "TableExpression"}:
            raise _denied(f"{statement.kind}: {_READERS_HAVE}")
        for node in statement.walk():
            self._check(node)

    def _explained(self, root: Node) -> Node:
        if not _EXPLAIN.fullmatch(root.detail):
            raise _denied(root.detail)
        *options, statement = root.children
        if self._restricted and (options or root.detail not in _EXPLAIN_UNCOUNTED):
            raise _denied(
                "this EXPLAIN counts what other organisations have; there are EXPLAIN SYNTAX, "
                "EXPLAIN AST and EXPLAIN QUERY TREE"
            )
        if any(option.kind != "Set" for option in options):
            raise _denied("this EXPLAIN")
        return statement

    def _check(self, node: Node) -> None:
        if node.kind == "ColumnsApplyTransformer":
            raise _denied("APPLY: name the columns")
        if node.kind == "Set":
            raise StoreRefused(Code.READONLY, "SETTINGS: bounds are Comptroller's here")
        if node.kind not in _NODES:
            raise _denied(f"{node.kind} in a query")
        if node.kind == "TableExpression":
            self._check_source(node)
        elif node.kind == "TableIdentifier":
            self._check_table(node.detail)
        elif node.kind == "Function":
            self._check_function(node)

    def _check_source(self, node: Node) -> None:
        source = node.children[0] if node.children else None
        if source is None or source.kind not in {"TableIdentifier", "Subquery", "Function"}:
            raise _denied("this FROM")
        if source.kind == "Function" and source.detail.lower() not in TABLE_FUNCTIONS:
            raise _denied(
                f"the table function {source.detail}: tables of {DATABASE}, subqueries, numbers, "
                "generateSeries and values can be read"
            )

    def _check_function(self, node: Node) -> None:
        name = node.detail
        if name not in self._functions and name.lower() not in TABLE_FUNCTIONS:
            raise _no_function(name)
        if _IN.fullmatch(name) and node.children:
            for argument in node.children[0].children[1:]:
                if argument.kind in {"Identifier", "TableIdentifier"}:
                    self._check_in(argument.detail)

    def _check_table(self, name: str) -> None:
        database, _, table = name.rpartition(".")
        if database not in {"", DATABASE}:
            raise _denied(f"{name}: only tables of the database {DATABASE} can be read")
        if table in self._visible:
            return
        if table in self._existing:
            raise _denied(f"{name}: it does not tell organisations apart (no column org)")
        if database or table not in self._defined:
            known = ", ".join(sorted(self._visible))
            raise StoreRefused(Code.UNKNOWN_TABLE, f"there is no table {name}; there are {known}")

    def _check_in(self, name: str) -> None:
        """The right side of IN may be a table, without looking like one."""
        database, _, table = name.rpartition(".")
        if database or table in self._existing:
            self._check_table(name)


def _no_function(name: str) -> StoreRefused:
    return StoreRefused(Code.ACCESS_DENIED, f"the function {name} is not open to readers")


def _denied(what: str) -> StoreRefused:
    return StoreRefused(Code.ACCESS_DENIED, f"not allowed: {what}")
