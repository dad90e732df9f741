"""Checks evidence that Comptroller exported: was any event changed, removed, added or moved?

Stand-alone, so that nothing of those who are checked need be trusted or installed: only Python's
standard library, with Ed25519 verification written out after RFC 8032. An event's hash is SHA-256 of
the hash before it, a line feed and its text; some hashes were signed while the log was written. Give
the public key that you have from its owner: the one in the file says nothing about who signed.
Exit code 0: nothing is wrong. 4: something is; the first wrong event is named.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from hashlib import sha256, sha512
from pathlib import Path

Point = tuple[int, int, int, int]  # X, Y, Z, T: x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)
P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE_BYTES = (4 * pow(5, -1, P) % P).to_bytes(32, "little")
EVENT = re.compile(rb'\["([0-9a-f]{64})",(\[.*\])\]\n?')


def add(a: Point, b: Point) -> Point:
    m, n = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    c, d = 2 * a[3] * b[3] * D, 2 * a[2] * b[2]
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number: int, point: Point) -> Point:
    result = (0, 1, 1, 0)
    while number:
        result = add(result, point) if number & 1 else result
        number, point = number >> 1, add(point, point)
    return result


def decoded(text: bytes) -> Point:  # 5.1.3: y in 255 bits, then the sign of x
    y, sign = int.from_bytes(text, "little") % 2**255, text[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != square or (x == 0 and sign):
        raise ValueError("a key or signature is no point of the curve")
    x = x if x % 2 == sign else P - x
    return x, y, 1, x * y % P


def is_signed(key: bytes, signature: bytes, text: bytes) -> bool:  # 5.1.7
    s = int.from_bytes(signature[32:], "little")
    k = int.from_bytes(sha512(signature[:32] + key + text).digest(), "little") % ORDER
    left, right = times(s, decoded(BASE_BYTES)), add(decoded(signature[:32]), times(k, decoded(key)))
    same = all((left[n] * right[2] - right[n] * left[2]) % P == 0 for n in (0, 1))
    return same and s < ORDER and (len(key), len(signature)) == (32, 64)


def read_head(head: dict[str, str], org: str, key: str) -> tuple[tuple[int, int], str]:
    parts = ("comptroller-head-1", org, *(head[n] for n in ("epoch", "seq", "hash", "time_ms")), "")
    text, signature = "\n".join(map(str, parts)).encode(), bytes.fromhex(head["signature"])
    if not is_signed(bytes.fromhex(key), signature, text):
        raise ValueError(f"the head of event {parts[2]}-{parts[3]} was not signed with {key}")
    return (int(parts[2]), int(parts[3])), head["hash"]


def check(lines: Iterator[bytes], key: str) -> str:
    about = json.loads(next(lines))
    org, key, prev, count, signed = about["organisation"], key or about["public_key"], "0" * 64, 0, 0
    heads, last = {}, (0, 0)
    for line in lines:
        if line.startswith(b"{") and not count:
            place, stated = read_head(json.loads(line)["head"], org, key)
            heads.setdefault(place, set()).add(stated)
            ...
