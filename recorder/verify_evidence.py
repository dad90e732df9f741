"""Checks exported evidence without trusting its maker: only Python's standard library is needed.

An event's hash is SHA-256 of the hash before it, a line feed and its text; some are signed (RFC
8032). Give its owner's public key: the file's own proves nothing. Exit code 4: not right."""

import argparse
import json
import re
import sys
from hashlib import sha256, sha512
from io import BufferedReader
from pathlib import Path

Point = tuple[int, int, int, int]  # X, Y, Z, T: x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, 5.1.4)
P, ORDER = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
BASE, EVENT = b"\x58" + b"\x66" * 31, re.compile(rb'\A\["([0-9a-f]{64})",(\[.*\])\]$')


def demand(right: bool, otherwise: str) -> None:
    if not right:
        raise ValueError(otherwise)


def add(a: Point, b: Point) -> Point:
    m, n = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0])
    c, d = 2 * a[3] * b[3] * D, 2 * a[2] * b[2]
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number: int, point: Point) -> Point:
    half = times(number // 2, add(point, point)) if number else (0, 1, 1, 0)
    return add(half, point) if number % 2 else half


def decoded(text: bytes) -> Point:  # 5.1.3: y in 255 bits, then the sign of x
    y, sign = int.from_bytes(text, "little") % 2**255, text[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    demand(y < P and x * x % P == square and x >= sign, "a signature or key is no point")
    x = x if x % 2 == sign else P - x
    return x, y, 1, x * y % P


def is_signed(key_hex: str, signature_hex: str, text: str) -> bool:  # 5.1.7
    key, signature = bytes.fromhex(key_hex), bytes.fromhex(signature_hex)
    s = int.from_bytes(signature[32:64], "little")
    k = int.from_bytes(sha512(signature[:32] + key + text.encode()).digest(), "little") % ORDER
    a, b = times(s, decoded(BASE)), add(decoded(signature[:32]), times(k, decoded(key)))
    same = all((a[n] * b[2] - b[n] * a[2]) % P == 0 for n in (0, 1))
    return same and s < ORDER and (len(key), len(signature)) == (32, 64)


def check(lines: BufferedReader, known_key: str) -> str:
    about, heads, count = json.loads(next(lines, b"")), {(0, 0): b"0" * 64}, 0
    org, key, most = about["organisation"], known_key or about["public_key"], len(about["columns"])
    least = about.get("columns_least", most)
    first = last = signed = (0, 0)
    for line in lines:
        if line.startswith(b"{"):
            head = json.loads(line)["head"]
            epoch, seq, stated = head["epoch"], head["seq"], head["hash"]
            text = f"comptroller-head-1\n{org}\n{epoch}\n{seq}\n{stated}\n{head['time_ms']}\n"
            demand(is_signed(key, head["signature"], text), f"{epoch, seq} not signed with {key}")
            heads[epoch, seq] = stated.encode()
            continue
        [(digest, text)] = EVENT.findall(line) or [(b"", b"[0]")]
        event = json.loads(text)
        demand(event[0] == org and least <= len(event) <= most, f"no event follows {last}")
        place = event[1], event[2]
        if count == 0:  # it stands on the last signed head before it, or is the first of all
            first, before = last, _ = max(each for each in heads.items() if each[0] < place)
        step = place[1] - last[1]
        follows = place > last and (step == 1 or (step > 1 and place[0] > max(last[0], 1)))
        demand(follows, f"{place} follows {last}: events are missing, moved, or there twice")
        same = sha256(before + b"\n" + text).hexdigest().encode() == digest
        demand(same, f"event {place} was changed, or did not stand on this event {last}")
        signed = place if place in heads else signed
        demand(heads.pop(place, digest) == digest, f"event {place} is not the one that was signed")
        last, before, count = place, digest, count + 1
    demand(not any(each > first for each in heads), f"signed events after {last} are missing")
    demand(signed > (0, 0), "no event is signed: anybody could have made them")
    return f"RIGHT: {count} events up to {last}. Signed up to {signed} with {key}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--public-key", default="", metavar="HEX")
    given = parser.parse_args()
    try:
        with given.file.open("rb") as file:
            message, code = check(file, given.public_key.lower()), 0
    except (ValueError, LookupError, TypeError) as error:
        message, code = f"WRONG: {error}", 4
    print(message)  # noqa: T201  # a script
    sys.exit(code)
