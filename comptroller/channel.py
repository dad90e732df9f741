"""What the supervisor and a process of its tell each other while both run: whole messages, in
order, over a socket that nobody else has.

The first message to a process is its configuration, so that all processes have what the supervisor
has read, whatever stands in the file by then. The text may hold secrets: it goes through memory
alone.
"""

import asyncio
import socket
import struct

import msgspec

from comptroller.document import Written

_LENGTH = struct.Struct("<I")


class Configuration(msgspec.Struct, frozen=True, tag="configuration"):
    """To a process: what holds from now on, counted from 1. `written` is None where `up` was
    started without a file."""

    version: int
    written: Written | None


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """From it: requests that come now are served by this version; or, with `failed`, they are
    not."""

    version: int
    failed: bool = False


class Released(msgspec.Struct, frozen=True, tag="released"):
    """From it: the last request that had begun before this version has ended."""

    version: int


class ReloadWanted(msgspec.Struct, frozen=True, tag="reload"):
    """From the admin API: the file is to be read again. `by` is the name of the token; `number`
    comes back in the answer."""

    number: int
    by: str


class ReloadAnswer(msgspec.Struct, frozen=True, tag="answer"):
    """To the admin API. `code` is empty where it was done, and else says why not, with `message`
    for people; `changed` are the parts of the file whose meaning is another one."""

    number: int
    version: int
    changed: tuple[str, ...] = ()
    code: str = ""
    message: str = ""


Message = Configuration | Applied | Released | ReloadWanted | ReloadAnswer
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def framed(message: Message) -> bytes:
    """As it goes over the socket: its length, then JSON."""
    body = msgspec.json.encode(message)
    return _LENGTH.pack(len(body)) + body


async def received(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises asyncio.IncompleteReadError and OSError where the other side has
    ended."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return _decoder.decode(await reader.readexactly(length))


def received_now(sock: socket.socket) -> Message:
    """The same without a loop, and not a byte beyond. Raises EOFError, OSError."""
    (length,) = _LENGTH.unpack(_exactly(sock, _LENGTH.size))
    return _decoder.decode(_exactly(sock, length))


def _exactly(sock: socket.socket, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        piece = sock.recv(count - len(content))
        if not piece:
            raise EOFError("the other side of the channel has ended")
        content += piece
    return bytes(content)
