"""Trees and tokens: what does not add up is refused, what stands in quotes is not a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.quoting import quoted, settings_text
from clickhouse.sqltext import Kind, called_names, defined_names, tokens, without_format
from clickhouse.syntax import Node, NotATree, parse_tree

TREE = """SelectQuery (children 2)
 ExpressionList (children 2)
  Function count (alias c) (children 1)
   ExpressionList
  Literal 'x (children 9)'
 TablesInSelectQuery"""


def test_a_tree_is_read() -> None:
    """Class, detail without alias, children, in the order in which they stand."""
    root = parse_tree(TREE + "\n\n")
    kinds = [(node.kind, node.detail) for node in root.walk()]
    assert kinds == [
        ("SelectQuery", ""),
        ("ExpressionList", ""),
        ("Function", "count"),
        ("ExpressionList", ""),
        ("Literal", "'x (children 9)'"),
        ("TablesInSelectQuery", ""),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " A",
        "A\nB",
        "A (children 1)",
        "A (children 1)\nB",
        "A (children 1)\n  B",
        "A (children 2)\n B\n  C",
        "A (children 1)\n B\n B",
        "A (children 1)\n 'x'",
        "\n".join(" " * depth + "A (children 1)" for depth in range(2_000)),
    ],
)
def test_lines_that_do_not_add_up_are_refused(text: str) -> None:
    """A name with a line break in it cannot pass for structure."""
    with pytest.raises(NotATree):
        parse_tree(text)


def _printed(node: Node, depth: int = 0) -> str:
    count = f" (children {len(node.children)})" if node.children else ""
    head = " " * depth + f"{node.kind} {node.detail}".strip() + count
    return "\n".join([head, *(_printed(child, depth + 1) for child in node.children)])


_NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
_TREES = st.recursive(
    st.builds(Node, st.just("Identifier"), _NAMES, st.just(())),
    lambda below: st.builds(
        Node, st.just("Function"), _NAMES, st.lists(below, min_size=1).map(tuple)
    ),
)


@given(_TREES)
def test_what_is_printed_is_read_back(tree: Node) -> None:
    """Any tree survives being written down as the engine does."""
    assert parse_tree(_printed(tree)) == tree


@given(st.text())
def test_a_string_literal_is_one_token(text: str) -> None:
    """Whatever is in it: no text of a user's ends its own quotes."""
    (token,) = tokens(quoted(text))
    assert token.kind is Kind.STRING


@given(st.text())
def test_tokens_lose_nothing_but_space(text: str) -> None:
    """Every other character is in exactly one token."""
    assert "".join("".join(token.text.split()) for token in tokens(text)) == "".join(text.split())


def test_words_in_quotes_are_not_words() -> None:
    """`INTO` as a string or a name is not the clause."""
    words = tokens("SELECT 'INTO', `INTO`, \"INTO\", 'a''INTO', 'a\\'INTO' into x")
    assert [word.text for word in words if word.is_word("INTO")] == ["into"]


@pytest.mark.parametrize(
    ("text", "rest", "name"),
    [
        ("SELECT 1 FORMAT CSV", "SELECT 1", "CSV"),
        ("SELECT 1 AS format", "SELECT 1 AS format", ""),
        ("SELECT 'x FORMAT CSV'", "SELECT 'x FORMAT CSV'", ""),
        ("SELECT format FROM t", "SELECT format FROM t", ""),
        ("SELECT 1 FORMAT `CSV`", "SELECT 1 FORMAT `CSV`", ""),
    ],
)
def test_the_last_clause_format(text: str, rest: str, name: str) -> None:
    """Only as the last two words."""
    assert without_format(text, tokens(text)) == (rest, name)


def test_names_that_are_defined_and_called() -> None:
    """WITH's names, and what stands before a bracket outside of a parameter's type."""
    words = tokens("WITH a AS (SELECT f (1)), `b` AS (x) SELECT {p:Array(String)} FROM (q) AS t(c)")
    assert defined_names(words) == {"a", "b"}
    assert called_names(words) == {"AS", "f", "FROM"}


def test_settings_are_literals() -> None:
    """Text is quoted, numbers are not, and a name that is none is a mistake of ours."""
    assert settings_text({"a": 1, "b": "x'y"}) == "a = 1, b = 'x\\'y'"
    with pytest.raises(AssertionError):
        settings_text({"a = 1; DROP": 1})
