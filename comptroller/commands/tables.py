"""Tables that fit a terminal: nothing is ever cut off. What says nothing is left out, then what can
be spared; long texts go on in the next line, and where numbers would have to, each row becomes a
block of lines."""

from collections.abc import Callable, Iterable
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from comptroller.commands.outcome import printable
from comptroller.commands.output import Column, Row

_BESIDE = 3  # a cell's padding, and what parts it from the next
_FOLDED_LEAST = 8
_Cells = list[list[str]]


class Fitted:
    """Rows as a Rich table of the width that there is; `style` is of a whole row."""

    def __init__(
        self,
        rows: Iterable[Row],
        columns: Iterable[Column],
        *,
        title: str = "",
        style: Callable[[Any], str] = lambda _: "",
    ) -> None:
        self._rows = list(rows)
        self._columns = tuple(columns)
        self._title = title
        self._style = style

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """See Rich."""
        cells = [[printable(column.text(row)) for column in self._columns] for row in self._rows]
        shown = _telling(self._columns, cells)
        while (spare := _spared(self._columns, shown)) is not None and (
            _width(self._columns, cells, shown) > options.max_width
        ):
            shown.remove(spare)
        if _least_width(self._columns, cells, shown) <= options.max_width:
            yield self._table(cells, shown)
        else:
            yield from self._blocks(cells, shown)

    def _table(self, cells: _Cells, shown: list[int]) -> Table:
        table = Table(
            title=self._title or None,
            title_justify="left",
            box=SIMPLE_HEAD,
            header_style="bold",
        )
        for n in shown:
            column = self._columns[n]
            table.add_column(
                _title(column, cells, n),
                justify="right" if column.is_number else "left",
                overflow="fold",
                no_wrap=column.is_whole,
                min_width=_least(column, cells, n),
            )
        for row, texts in zip(self._rows, cells, strict=True):
            # Text, so that nobody's name is taken for markup.
            table.add_row(*(Text(texts[n]) for n in shown), style=self._style(row))
        return table

    def _blocks(self, cells: _Cells, shown: list[int]) -> Iterable[Text]:
        if self._title:
            yield Text(self._title, style="italic")
        titles = [self._columns[n].title for n in shown]
        width = max(map(cell_len, titles))
        for row, texts in zip(self._rows, cells, strict=True):
            lines = [
                f"{title:<{width}}  {texts[n]}"
                for title, n in zip(titles, shown, strict=True)
                if texts[n]
            ]
            yield Text("\n".join([*lines, ""]), style=self._style(row), overflow="fold")


def _telling(columns: tuple[Column, ...], cells: _Cells) -> list[int]:
    """The columns that say something of a row; all, where there are no rows."""
    return [
        n
        for n, column in enumerate(columns)
        if not cells or n == 0 or any(texts[n] not in column.untold for texts in cells)
    ]


def _spared(columns: tuple[Column, ...], shown: list[int]) -> int | None:
    last = max(shown, key=lambda n: columns[n].spare)
    return last if columns[last].spare else None


def _title(column: Column, cells: _Cells, n: int) -> str:
    """In words, one below the other where the numbers are narrower than it."""
    words = column.title.replace("_", " ").split(" ")
    narrow = column.is_whole and cell_len(column.title) > _widest(cells, n)
    return ("\n" if narrow else " ").join(words)


def _widest(cells: _Cells, n: int) -> int:
    return max((cell_len(texts[n]) for texts in cells), default=0)


def _least(column: Column, cells: _Cells, n: int) -> int:
    """Whole, or enough to be read line by line."""
    word = max(map(cell_len, column.title.replace("_", " ").split(" ")))
    width = max(word, _widest(cells, n))
    return width if column.is_whole else min(width, _FOLDED_LEAST)


def _least_width(columns: tuple[Column, ...], cells: _Cells, shown: list[int]) -> int:
    return sum(_least(columns[n], cells, n) for n in shown) + _BESIDE * len(shown) + 1


def _width(columns: tuple[Column, ...], cells: _Cells, shown: list[int]) -> int:
    """With nothing folded."""
    words = (_title(columns[n], cells, n).split("\n") for n in shown)
    titles = (max(map(cell_len, each)) for each in words)
    widths = (max(title, _widest(cells, n)) for title, n in zip(titles, shown, strict=True))
    return sum(widths) + _BESIDE * len(shown) + 1
