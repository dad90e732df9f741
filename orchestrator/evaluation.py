"""Renders a parsed template: Jinja2's language, walked here instead of being compiled to Python.

Values are those of JSON and nothing else, fields are entries of mappings, and what can be called
is in a table (`orchestrator.filters`). So there is no way to an object of this process, none to
chance or time, and each step of the walk is paid (`orchestrator.effort`). Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import nodes

from orchestrator.effort import NODE_WORK, Effort, TemplateFailed, kind_of
from orchestrator.filters import FILTERS, MAPPING_METHODS, TEXT_METHODS, list_of
from orchestrator.operators import BINARY, combined, compared
from orchestrator.predicates import TESTS
from orchestrator.problems import nearest

RANGE_MAX = 100_000
_NAMES_LOOKED_AT = 200
_NAME_CHARS = 64
Walk = Callable[["Evaluation", Any], Any]


class Missing:
    """What is not there: fine for `default` and `is defined`, an error for everything else. What it
    says is put together by who needs it."""

    __slots__ = ("_known", "_name", "_where", "_why")

    def __init__(self, where: str, why: str, name: str = "", known: Iterable[Any] = ()) -> None:
        self._where = where
        self._why = why
        self._name = name
        self._known = known

    @property
    def message(self) -> str:
        """With the nearest name that there is, of the first few: all of them may be an answer."""
        if not self._name:
            return f"{self._where}: {self._why}"
        seen = [str(each)[:_NAME_CHARS] for _, each in zip(range(_NAMES_LOOKED_AT), self._known)]  # noqa: B905  # of the shorter
        return f"{self._where}: {self._why}{nearest(self._name[:_NAME_CHARS], seen)}"


class Evaluation:
    """One template in its run. `names`: the roots that it may name."""

    def __init__(self, names: Mapping[str, Any], effort: Effort) -> None:
        self._scopes: list[Mapping[str, Any] | dict[str, Any]] = [names, {}]
        self._effort = effort
        self._written: list[str] = []
        self._chars = 0

    def text(self, body: Sequence[nodes.Node]) -> str:
        """Raises TemplateFailed."""
        self._run(body)
        return "".join(self._written)

    def value(self, node: nodes.Node) -> Any:
        """Of an expression. Raises TemplateFailed, also for what is not there."""
        found = self._maybe(node)
        if isinstance(found, Missing):
            raise TemplateFailed(found.message)
        return found

    def _maybe(self, node: nodes.Node) -> Any:
        self._effort.spend(NODE_WORK)
        return _EXPRESSIONS[type(node)](self, node)

    def _run(self, body: Sequence[nodes.Node]) -> None:
        for each in body:
            self._effort.spend(NODE_WORK)
            _STATEMENTS[type(each)](self, each)

    # Statements

    def _output(self, node: nodes.Output) -> None:
        for each in node.nodes:
            text = self._effort.text_of(self.value(each))
            self._chars += len(text)
            self._effort.fits(self._chars)
            self._written.append(text)

    def _if(self, node: nodes.If) -> None:
        for each in (node, *node.elif_):
            if self.value(each.test):
                self._run(each.body)
                return
        self._run(node.else_)

    def _for(self, node: nodes.For) -> None:
        entries = list_of(self._effort, self.value(node.iter))
        if node.test is not None:
            entries = [each for each in entries if self._passes(node, each)]
        for index, each in enumerate(entries):
            self._effort.spend(NODE_WORK)
            self._scopes.append({"loop": _loop(entries, index)})
            self._assign(node.target, each)
            self._run(node.body)
            self._scopes.pop()
        if not entries:
            self._run(node.else_)

    def _passes(self, node: nodes.For, each: Any) -> bool:
        assert node.test is not None
        self._scopes.append({})
        self._assign(node.target, each)
        passes = bool(self.value(node.test))
        self._scopes.pop()
        return passes

    def _set(self, node: nodes.Assign) -> None:
        self._assign(node.target, self.value(node.node))

    def _with(self, node: nodes.With) -> None:
        values = [self.value(each) for each in node.values]
        self._scopes.append({})
        for target, each in zip(node.targets, values, strict=True):
            self._assign(target, each)
        self._run(node.body)
        self._scopes.pop()

    def _assign(self, target: nodes.Node, value: Any) -> None:
        if isinstance(target, nodes.Name):
            scope = self._scopes[-1]
            assert isinstance(scope, dict)
            scope[target.name] = value
            return
        assert isinstance(target, nodes.Tuple)
        entries = list_of(self._effort, value)
        if len(entries) != len(target.items):
            raise TemplateFailed(f"{len(entries)} values for {len(target.items)} names")
        for each, entry in zip(target.items, entries, strict=True):
            self._assign(each, entry)

    # Expressions

    def _name(self, node: nodes.Name) -> Any:
        for scope in reversed(self._scopes):
            if node.name in scope:
                return scope[node.name]
        return Missing(node.name, "no such name", node.name, self._scopes[0].keys())

    def _getattr(self, node: nodes.Getattr) -> Any:
        return self._field(node, self._maybe(node.node), node.attr)

    def _getitem(self, node: nodes.Getitem) -> Any:
        value = self._maybe(node.node)
        if isinstance(node.arg, nodes.Slice):
            return self._sliced(node.arg, value)
        return self._field(node, value, self.value(node.arg))

    def _field(self, node: nodes.Expr, value: Any, key: Any) -> Any:
        if isinstance(value, Missing):
            return value
        if isinstance(value, Mapping):
            if isinstance(key, str) and key in value:
                return value[key]
            return Missing(_path(node), "no such field", str(key)[:_NAME_CHARS], value)
        if isinstance(value, list | tuple | str) and isinstance(key, int):
            if -len(value) <= key < len(value):
                return value[key]
            return Missing(_path(node), f"no such entry: there are {len(value)}, from 0")
        return Missing(_path(node), f"no such field: it is of {kind_of(value)}")

    def _sliced(self, node: nodes.Slice, value: Any) -> Any:
        if not isinstance(value, str | list | tuple):
            raise TemplateFailed(
                f"{'nothing' if isinstance(value, Missing) else kind_of(value)} "
                "has no slices: a list or a text has"
            )
        bounds: list[Any] = [
            None if each is None else self.value(each)
            for each in (node.start, node.stop, node.step)
        ]
        if not all(each is None or isinstance(each, int) for each in bounds) or bounds[2] == 0:
            raise TemplateFailed("a slice is made of whole numbers, and its step is not 0")
        self._effort.spend_on(value)
        return value[slice(*bounds)]

    def _call(self, node: nodes.Call) -> Any:
        arguments = [self.value(each) for each in node.args]
        options = self._options(node.kwargs)
        if isinstance(node.node, nodes.Name) and node.node.name == "range":
            return self._guarded("range", self._range, *arguments, **options)
        if not isinstance(node.node, nodes.Getattr):
            raise TemplateFailed(f"{_path(node.node)} cannot be called")
        value, name = self.value(node.node.node), node.node.attr
        methods = MAPPING_METHODS if isinstance(value, Mapping) else TEXT_METHODS
        if not isinstance(value, Mapping | str) or name not in methods:
            raise TemplateFailed(f"{kind_of(value)} has no method {name[:_NAME_CHARS]}")
        self._effort.spend_on(value)
        return self._guarded(name, methods[name], self._effort, value, *arguments, **options)

    def _options(self, written: Iterable[Any]) -> dict[str, Any]:
        return {each.key: self.value(each.value) for each in written}

    def _range(self, *bounds: int) -> list[int]:
        found = range(*bounds)
        try:
            length = len(found)
        except OverflowError:
            length = RANGE_MAX + 1
        if length > RANGE_MAX:
            raise TemplateFailed(f"a range has at most {RANGE_MAX} numbers")
        self._effort.spend(length)
        return list(found)

    def _filter(self, node: nodes.Filter) -> Any:
        assert node.node is not None
        value = self._maybe(node.node)
        if isinstance(value, Missing):
            if node.name not in ("default", "d"):
                raise TemplateFailed(value.message)
            return self.value(node.args[0]) if node.args else ""
        return self._applied(FILTERS[node.name], node, value)

    def _test(self, node: nodes.Test) -> Any:
        value = self._maybe(node.node)
        if isinstance(value, Missing):
            if node.name not in ("defined", "undefined"):
                raise TemplateFailed(value.message)
            return node.name == "undefined"
        return self._applied(TESTS[node.name], node, value)

    def _applied(
        self, chosen: Callable[..., Any], node: nodes.Filter | nodes.Test, value: Any
    ) -> Any:
        arguments = [self.value(each) for each in node.args]
        options = self._options(node.kwargs)
        self._effort.spend_on(value)
        return self._guarded(node.name, chosen, self._effort, value, *arguments, **options)

    @staticmethod
    def _guarded(name: str, chosen: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return chosen(*args, **options)
        except TemplateFailed:
            raise
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateFailed(f"{name}: {str(error)[:200]}") from None

    def _concat(self, node: nodes.Concat) -> str:
        texts = [self._effort.text_of(self.value(each)) for each in node.nodes]
        self._effort.fits(sum(len(each) for each in texts))
        return self._effort.bounded("".join(texts))

    def _compare(self, node: nodes.Compare) -> bool:
        left = self.value(node.expr)
        for each in node.ops:
            right = self.value(each.expr)
            if not compared(self._effort, each.op, left, right):
                return False
            left = right
        return True

    def _binary(self, node: nodes.BinExpr) -> Any:
        return combined(self._effort, type(node), self.value(node.left), self.value(node.right))

    def _negative(self, node: nodes.Neg) -> Any:
        return combined(self._effort, nodes.Sub, 0, self.value(node.node))

    def _choice(self, node: nodes.CondExpr) -> Any:
        if self.value(node.test):
            return self._maybe(node.expr1)
        return None if node.expr2 is None else self._maybe(node.expr2)

    def _list(self, node: nodes.List | nodes.Tuple) -> list[Any]:
        return [self.value(each) for each in node.items]

    def _dict(self, node: nodes.Dict) -> dict[str, Any]:
        pairs = [(self.value(each.key), self.value(each.value)) for each in node.items]
        if not all(isinstance(name, str) for name, _ in pairs):
            raise TemplateFailed("the names in a mapping are texts: write them in quotes")
        return dict(pairs)


def _loop(entries: list[Any], index: int) -> dict[str, Any]:
    """`loop`, as far as it is data."""
    length = len(entries)
    around = {"previtem": index - 1, "nextitem": index + 1}
    return {
        "index": index + 1,
        "index0": index,
        "revindex": length - index,
        "revindex0": length - index - 1,
        "first": index == 0,
        "last": index == length - 1,
        "length": length,
        **{name: entries[at] for name, at in around.items() if 0 <= at < length},
    }


def _path(node: nodes.Node) -> str:
    """As it is written: `steps.plan.output.sections`."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_path(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const(value=key)):
            return f"{_path(node.node)}[{str(key)[:_NAME_CHARS]}]"
        case nodes.Getitem():
            return f"{_path(node.node)}[...]"
        case _:
            return "(...)"


_STATEMENTS: Mapping[type[nodes.Node], Walk] = MappingProxyType(
    {
        nodes.Output: Evaluation._output,
        nodes.If: Evaluation._if,
        nodes.For: Evaluation._for,
        nodes.Assign: Evaluation._set,
        nodes.With: Evaluation._with,
    }
)
_EXPRESSIONS: Mapping[type[nodes.Node], Walk] = MappingProxyType(
    {
        nodes.TemplateData: lambda _, node: node.data,
        nodes.Const: lambda _, node: node.value,
        nodes.Name: Evaluation._name,
        nodes.Getattr: Evaluation._getattr,
        nodes.Getitem: Evaluation._getitem,
        nodes.Call: Evaluation._call,
        nodes.Filter: Evaluation._filter,
        nodes.Test: Evaluation._test,
        nodes.Concat: Evaluation._concat,
        nodes.Compare: Evaluation._compare,
        nodes.Neg: Evaluation._negative,
        nodes.Pos: lambda walk, node: walk.value(node.node),
        nodes.Not: lambda walk, node: not walk.value(node.node),
        nodes.And: lambda walk, node: walk.value(node.left) and walk.value(node.right),
        nodes.Or: lambda walk, node: walk.value(node.left) or walk.value(node.right),
        nodes.CondExpr: Evaluation._choice,
        nodes.List: Evaluation._list,
        nodes.Tuple: Evaluation._list,
        nodes.Dict: Evaluation._dict,
        **dict.fromkeys(BINARY, Evaluation._binary),
    }
)
EXPRESSIONS = frozenset((*_EXPRESSIONS, nodes.Slice))
STATEMENTS = frozenset(_STATEMENTS)
