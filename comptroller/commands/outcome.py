"""How a command ends: an exit code, and for a failure what happened and what to type next."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

import typer

from comptroller.exits import FAILED

_PARTS = re.compile(r"([\n\t])")
INTERRUPTED = 130  # as a shell reports SIGINT


class CommandFailed(Exception):
    """A failure that the user can act on: what happened, the next command, the exit code."""

    def __init__(self, message: str, next_command: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.next_command = next_command
        self.code = code


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Around a command (`@told()`): its failure in two lines on stderr, never a traceback. What is
    no CommandFailed is a fault of ours and is shown whole."""
    try:
        yield
    except CommandFailed as error:
        typer.echo(f"comptroller: {printable(str(error))}", err=True)
        typer.echo(f"try: {printable(error.next_command)}", err=True)
        raise typer.Exit(error.code) from None
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def shown(text: str) -> str:
    """The same of many lines: line ends and tabs stay."""
    return "".join(each if each in "\n\t" else printable(each) for each in _PARTS.split(text))


def printable(text: str) -> str:
    """Without what a terminal would obey: names and errors come from clients and providers."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
