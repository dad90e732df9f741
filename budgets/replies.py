"""Words and numbers of a script's answer."""

from budgets.transport import Reply


def code_of(reply: Reply) -> str:
    """The first word of an answer."""
    assert isinstance(reply[0], bytes)
    return reply[0].decode()


def number(value: object) -> int:
    """An integer in an answer."""
    assert isinstance(value, int)
    return value


def texts(value: object) -> list[str]:
    """A list of words in an answer."""
    assert isinstance(value, list)
    return [each.decode() for each in value]
