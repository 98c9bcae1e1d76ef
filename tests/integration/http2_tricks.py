"""What HTTP/2 has been broken with, as the bytes of whole connections: known ways, and a generator of new ones.

Each is sent by somebody who may use the model `MINE`. Many ask for `VICTIM` in some way, which they may not use.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import hpack
from hpack.struct import NeverIndexedHeaderTuple

from tests.integration.fake_inference_server import SERVICE
from tests.integration.http1_tricks import FORGED, SMUGGLED
from tests.unit.wire.writing import block as message_field

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Of the PING that ends each attack on a connection which is still there.
LAST_PING: Final = b"lastping"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITISED, ACK = 1, 4, 8, 32, 1
MINE_PATH, VICTIM_PATH = b"/v2/models/mine/infer", b"/v2/models/victim/infer"
_GRPC: Final = f"/{SERVICE}/ModelInfer".encode()
_STREAMED: Final = f"/{SERVICE}/ModelStreamInfer".encode()
Field = tuple[bytes, bytes]


def frame(
    kind: int, stream: int = 0, body: bytes = b"", flags: int = 0, length: int | None = None
) -> bytes:
    """``length``: what is said of it, where that is not so."""
    said = len(body) if length is None else length
    return struct.pack(">I", said)[1:] + struct.pack(">BBI", kind, flags, stream) + body


def connection(*frames: bytes, settings: bytes = b"") -> bytes:
    """All of one connection."""
    return b"".join([PREFACE, frame(SETTINGS, body=settings), *frames, frame(PING, body=LAST_PING)])


def coded(fields: Iterable[Field]) -> bytes:
    """A block of headers that leaves nothing behind for others."""
    plain = [NeverIndexedHeaderTuple(name, value) for name, value in fields]
    return hpack.Encoder().encode(plain, huffman=False)


def asked(
    *more: Field, path: bytes = MINE_PATH, method: bytes = b"POST", without: Iterable[bytes] = ()
) -> list[Field]:
    """The headers of a request. ``more`` behind the others; ``without``: names that are left out."""
    usual = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"authorization", b"Bearer ob_mine"),
    ]
    left_out = frozenset(without)
    return [*(each for each in usual if each[0] not in left_out), *more]


def request(fields: Iterable[Field], body: bytes | None = b"{}", stream: int = 1) -> bytes:
    """``body``: None: it ends with its headers."""
    flags = END_HEADERS | (END_STREAM if body is None else 0)
    head = frame(HEADERS, stream, coded(fields), flags)
    return head if body is None else head + frame(DATA, stream, body, END_STREAM)


def _trailed(trailers: Iterable[Field], fields: Iterable[Field] = (), body: bytes = b"{}") -> bytes:
    head = frame(HEADERS, 1, coded(fields or asked()), END_HEADERS)
    return (
        head + frame(DATA, 1, body) + frame(HEADERS, 1, coded(trailers), END_HEADERS | END_STREAM)
    )


def called(
    message: bytes, *more: Field, path: bytes = _GRPC, compressed: int = 0, stream: int = 1
) -> bytes:
    """A call of gRPC."""
    kind = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    body = bytes([compressed]) + struct.pack(">I", len(message)) + message
    return request(asked(*kind, *more, path=path), body, stream)


def unfinished(number: int) -> bytes:
    """A connection with a call of gRPC, unary or a stream, that says half of a message and then nothing."""
    kind = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    path = _GRPC if number % 2 else _STREAMED
    head = frame(HEADERS, 1, coded(asked(*kind, path=path)), END_HEADERS)
    return connection(head, frame(DATA, 1, b"\0" + struct.pack(">I", 100) + bytes(50)))


def _named(model: str) -> bytes:
    return message_field(1, model)


_IN_A_PATH: Final = (
    b"/v2/models/mine/infer HTTP/1.1\r\nhost: x\r\n\r\n" + SMUGGLED,
    b"/v2/models/mine/infer HTTP/1.1\r\nx: ",
    b"/v2/models/mine/infer\r\nx: y",
    b"/v2/models/mine/infer\nx: y",
    b"/v2/models/mine/infer\rx: y",
    b"/v2/models/mine/infer\x00",
    b"/v2/models/mine/infer x",
    b"/v2/models/mine/infer\tx",
    b"/v2/models/mine/infer\x7f",
    b"/v2/models/mine/infer\xff",
    b"/v2/models/mine/infer#" + VICTIM_PATH,
    b"/v2/models/mine/infer?" + VICTIM_PATH,
    b"/v2/models/mine/../victim/infer",
    b"/v2/models/mine/infer/../../victim/infer",
    b"/" + VICTIM_PATH,
    b"http://x" + VICTIM_PATH,
    b"v2/models/victim/infer",
    b"\\v2\\models\\victim\\infer",
    b"*",
    b"",
    b"/" + b"a" * 70_000,
)
_BAD_VALUES: Final = (
    *(
        b"y\r\nz: 1",
        b"y\nz: 1",
        b"y\rz: 1",
        b"y\x00",
        b" y",
        b"y ",
        b"\ty",
        b"y\x7f",
        b"\x0b",
        b"\xff\xfe",
    ),
    b"y\r\n\r\n" + SMUGGLED,
)
_BAD_NAMES: Final = (
    *(
        b"X-Upper",
        b"x y",
        b"x:",
        b":x",
        b"x\r\ny",
        b"x\ny",
        b"x\x00",
        b"",
        b" x",
        b"x\xff",
        b"x(y)",
        b"x" * 70_000,
    ),
    *(b"x: y\r\ntransfer-encoding: chunked\r\nz", b"content-length\r\n"),
)
# Headers that mean something on a connection of HTTP/1.1, or steer what is in front of a server.
_FOREIGN: Final[tuple[Field, ...]] = (
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"identity"),
    (b"connection", b"keep-alive"),
    (b"connection", b"authorization, content-length"),
    (b"proxy-connection", b"keep-alive"),
    (b"keep-alive", b"timeout=5"),
    (b"upgrade", b"h2c"),
    (b"http2-settings", b"AAMAAABkAAQAAP__"),
    (b"te", b"chunked"),
    (b"te", b"trailers, chunked"),
    (b"trailer", b"content-length"),
    (b"expect", b"100-continue"),
    (b"host", b"victim"),
    (b"host", b"x\r\ny: z"),
    (b"seldon-model", b"victim"),
    *FORGED,
    (b"x-envoy-original-path", VICTIM_PATH),
    (b"x-envoy-internal", b"true"),
    (b"x-http-method-override", b"DELETE"),
    (b"authorization", b"Bearer ob_none"),
    (b"content-encoding", b"gzip"),
    (b"cookie", b"a=b; c=d"),
    (b"grpc-timeout", b"\xd7"),
    (b"grpc-timeout", b"99999999999999H"),
    (b"grpc-encoding", b"\xd7"),
    (b"grpc-accept-encoding", b"\xd7"),
    (b"x-request-id", b"\xd7"),
    (b"x-bin", b"\xd7"),
    (b"user-agent", b"\xd7"),
)
_LENGTHS: Final = (
    *(
        b"0",
        b"1",
        b"3",
        b"100",
        b"99999999",
        b"99999999999999999999",
        b"-2",
        b"+2",
        b"2, 2",
        b"02",
        b"0x2",
        b"",
    ),
    *(b"2 ", b"2\x00", b"two"),
)
_PSEUDO: Final[Mapping[str, list[Field]]] = {
    "no path": asked(without=[b":path"]),
    "no method": asked(without=[b":method"]),
    "no scheme": asked(without=[b":scheme"]),
    "no authority": asked(without=[b":authority"]),
    "no authority, but a host": asked((b"host", b"victim"), without=[b":authority"]),
    "none at all": asked(without=[b":path", b":method", b":scheme", b":authority"]),
    "two paths": [(b":path", VICTIM_PATH), *asked()],
    "two paths, behind": asked((b":path", VICTIM_PATH)),
    "two methods": [(b":method", b"DELETE"), *asked()],
    "two authorities": [(b":authority", b"victim"), *asked()],
    "a path among the others": [*asked(without=[b":path"]), (b":path", VICTIM_PATH)],
    "an answer's": [(b":status", b"200"), *asked()],
    "one that there is not": [(b":victim", b"1"), *asked()],
    "a protocol": [(b":protocol", b"websocket"), *asked(method=b"CONNECT")],
    "a protocol without CONNECT": [(b":protocol", b"websocket"), *asked()],
    "a tunnel": asked(method=b"CONNECT"),
    "a tunnel without a path": asked(method=b"CONNECT", without=[b":path", b":scheme"]),
    "a large one": [(b":Path", VICTIM_PATH), *asked()],
    "a scheme with more in it": [
        (b":scheme", b"http://x/v2/models/victim/infer?"),
        *asked(without=[b":scheme"]),
    ],
    "an authority with a path": [
        (b":authority", b"x/v2/models/victim/infer?"),
        *asked(without=[b":authority"]),
    ],
    "an authority with a line": [
        (b":authority", b"x\r\nx-overbook-model: victim"),
        *asked(without=[b":authority"]),
    ],
}
_METHODS: Final = (
    *(
        b"GET",
        b"HEAD",
        b"post",
        b"TRACE",
        b"PRI",
        b"POST x",
        b"POST\r\n",
        b"",
        b"\x00",
        b"X" * 70_000,
    ),
    b"POST " + VICTIM_PATH + b" HTTP/1.1\r\nx: ",
)


def requests() -> Mapping[str, bytes]:
    """Connections with one odd request or some, by what is odd."""
    found = {f"path {each[:60]!r}": request(asked(path=each)) for each in _IN_A_PATH}
    own = (b"seldon-model", b"mine")
    found |= {f"own path {each[:60]!r}": request(asked(own, path=each)) for each in _IN_A_PATH}
    found |= {f"value {each[:40]!r}": request(asked((b"x", each))) for each in _BAD_VALUES}
    found |= {f"name {each[:40]!r}": request(asked((each, b"1"))) for each in _BAD_NAMES}
    found |= {f"{name!r}: {value!r}": request(asked((name, value))) for name, value in _FOREIGN}
    found |= {
        f"{name!r}: {value!r} and a request behind it": request(asked((name, value)), SMUGGLED)
        for name, value in _FOREIGN
    }
    found |= {f"method {each[:40]!r}": request(asked(method=each)) for each in _METHODS}
    found |= {f"pseudo-headers: {how}": request(fields) for how, fields in _PSEUDO.items()}
    for each in _LENGTHS:
        sized = asked((b"content-length", each))
        found[f"length {each!r} of 2"] = request(sized)
        found[f"length {each!r} of many"] = request(sized, SMUGGLED)
        found[f"length {each!r} of none"] = request(sized, None)
        found[f"length {each!r} and trailers"] = _trailed([(b"x", b"y")], sized)
        found[f"length {each!r} and another"] = request([*sized, (b"content-length", b"2")])
    for field in (*_FOREIGN, (b":path", VICTIM_PATH), (b"content-length", b"0"), (b"x", b"y\r\n")):
        found[f"trailer {field[0]!r}: {field[1]!r}"] = _trailed([field])
    found["trailers without an end"] = _trailed([(b"x", b"y")])[:-1]
    found |= _calls()
    several = [request(asked(), stream=stream) for stream in (1, 3, 5)]
    found["several at once"] = b"".join(several)
    found["mine, victim, mine"] = (
        several[0] + request(asked(path=VICTIM_PATH), stream=3) + several[2]
    )
    return {name: connection(frames) for name, frames in found.items()}


def _calls() -> Mapping[str, bytes]:
    """Of gRPC: the model is in the message, and headers may say otherwise."""
    victim, mine = _named("victim"), _named("mine")
    found = {"a call": called(mine), "a call for another": called(victim)}
    for name, value in ((b"x-overbook-model", b"mine"), (b"seldon-model", b"mine"), *_FOREIGN):
        found[f"a call for another with {name!r}: {value!r}"] = called(victim, (name, value))
        found[f"a stream for another with {name!r}: {value!r}"] = called(
            victim, (name, value), path=_STREAMED
        )
    kind = asked((b"content-type", b"application/grpc"), (b"te", b"trailers"), path=_GRPC)
    whole = b"\0" + struct.pack(">I", len(mine)) + mine
    second = b"\0" + struct.pack(">I", len(victim)) + victim
    found |= {
        "two messages": request(kind, whole + second),
        "a name twice": called(mine + victim),
        "a name twice, the other way": called(victim + mine),
        "a message in pieces": frame(HEADERS, 1, coded(kind), END_HEADERS)
        + b"".join(frame(DATA, 1, second[at : at + 1]) for at in range(len(second)))
        + frame(DATA, 1, b"", END_STREAM),
        "a message and trailers": _trailed([(b"x-overbook-model", b"mine")], kind, second),
        "no message": request(kind, None),
        "half a message": request(kind, whole[:-2]),
        "a message and a half": request(kind, whole + second[:-2]),
        "compressed": called(gzip.compress(victim), (b"grpc-encoding", b"gzip"), compressed=1),
        "compressed, not said so": called(gzip.compress(victim), compressed=1),
        "an odd flag": called(victim, compressed=7),
        "many names": called(mine * 20_000 + victim),
        "a stream of two": request(
            asked((b"content-type", b"application/grpc"), path=_STREAMED), whole + second
        ),
        "as JSON": request(asked((b"content-type", b"application/json"), path=_GRPC), second),
        "web": request(asked((b"content-type", b"application/grpc-web"), path=_GRPC), second),
        "another method": called(victim, path=f"/{SERVICE}/ModelInfer/".encode()),
        "another service": called(victim, path=b"/inference.Other/ModelInfer"),
    }
    # What goes to the gateway itself, whose gRPC takes names of methods for UTF-8.
    for path in (
        *(b"/inference.\xd7", _GRPC + b"\xd7", _STREAMED + b"\xd7", b"/grpc.health.v1.\xd7"),
        *(
            b"/inference.GRPCInferenceService\xd7ModelInfer",
            b"/grpc.health.v1.Health/\xd7",
            b"/inference.",
        ),
        *(
            b"/inference.GRPCInferenceService/Server\xd7",
            b"/inference./",
            b"/inference.x/../\xff",
            b"/inference.%d7",
        ),
        _GRPC + b"?\xd7",
    ):
        for more in ((), ((b"seldon-model", b"mine"),), ((b"x-bin", b"\xd7"), (b"x", b"\xd7"))):
            found[f"method {path!r} with {more!r}"] = called(mine, *more, path=path)
    for authority in (b"\xd7", b"x:\xd7", b"\xd7:80"):
        named = [(b":authority", authority), *asked(path=_STREAMED, without=[b":authority"])]
        found[f"a stream to {authority!r}"] = request(
            [*named, (b"content-type", b"application/grpc")]
        )
    return found


def broken() -> Mapping[str, bytes]:
    """Connections that are not HTTP/2 as it is written."""
    mine = request(asked(), stream=1)
    head = coded(asked())
    begun = frame(HEADERS, 1, head, END_HEADERS)
    numbers = struct.pack
    found = {
        "data of no stream": frame(DATA, 0, b"x"),
        "data of an idle stream": frame(DATA, 5, b"x"),
        "data after the end": mine + frame(DATA, 1, SMUGGLED, END_STREAM),
        "headers after the end": mine + frame(HEADERS, 1, head, END_HEADERS | END_STREAM),
        "headers of no stream": frame(HEADERS, 0, head, END_HEADERS),
        "an even stream": frame(HEADERS, 2, head, END_HEADERS | END_STREAM),
        "a lower stream": request(asked(), stream=7) + request(asked(), stream=3),
        "the highest stream": request(asked(), stream=2**31 - 1),
        "a reserved bit": request(asked(), stream=2**31 + 1),
        "a frame that is too large": frame(DATA, 1, bytes(16_385)),
        "a length that is too large": begun + frame(DATA, 1, b"{}", length=2**24 - 1),
        "a length that is too short": begun + frame(DATA, 1, b"{}" + mine, END_STREAM, length=2),
        "more padding than there is": begun + frame(DATA, 1, b"\xff{}", END_STREAM | PADDED),
        "padding alone": begun + frame(DATA, 1, b"\x01\0", PADDED) * 200,
        "padded headers": frame(
            HEADERS, 1, b"\x05" + head + bytes(5), END_HEADERS | END_STREAM | PADDED
        ),
        "headers that depend on themselves": frame(
            HEADERS, 1, numbers(">IB", 1, 0) + head, END_HEADERS | END_STREAM | PRIORITISED
        ),
        "headers cut off": frame(HEADERS, 1, head[:-3], END_HEADERS | END_STREAM),
        "headers of nothing": frame(HEADERS, 1, b"", END_HEADERS | END_STREAM),
        "an index that there is not": frame(
            HEADERS, 1, b"\xff\xff\xff\x7f", END_HEADERS | END_STREAM
        ),
        "an index of zero": frame(HEADERS, 1, b"\x80", END_HEADERS | END_STREAM),
        "an endless number": frame(HEADERS, 1, b"\x7f" + b"\xff" * 100, END_HEADERS | END_STREAM),
        "a string longer than all": frame(
            HEADERS, 1, b"\x00\x7f\xff\xff\xff\x07a", END_HEADERS | END_STREAM
        ),
        "bad Huffman": frame(
            HEADERS, 1, b"\x00\x84\xff\xff\xff\xff\x01x", END_HEADERS | END_STREAM
        ),
        "a larger table": frame(HEADERS, 1, b"\x3f\xe1\xff\x7f" + head, END_HEADERS | END_STREAM),
        "tables, larger and smaller": frame(
            HEADERS, 1, b"\x20\x3f\xe1\x1f" * 2_000 + head, END_HEADERS | END_STREAM
        ),
        "continued by nobody": frame(HEADERS, 1, head, END_STREAM),
        "continued by another": frame(HEADERS, 1, head, END_STREAM) + mine,
        "continued on another stream": frame(HEADERS, 1, head[:5], END_STREAM)
        + frame(CONTINUATION, 3, head[5:], END_HEADERS),
        "continued, and data between": frame(HEADERS, 1, head[:5])
        + frame(DATA, 1, b"{}", END_STREAM)
        + frame(CONTINUATION, 1, head[5:], END_HEADERS),
        "continued before it began": frame(CONTINUATION, 1, head, END_HEADERS),
        "continued after its end": mine + frame(CONTINUATION, 1, head, END_HEADERS),
        "continued a byte at a time": frame(HEADERS, 1, b"", END_STREAM)
        + b"".join(frame(CONTINUATION, 1, head[at : at + 1]) for at in range(len(head)))
        + frame(CONTINUATION, 1, b"", END_HEADERS),
        "a window of nothing": begun + frame(WINDOW, 1, numbers(">I", 0)),
        "a window of nothing for all": frame(WINDOW, 0, numbers(">I", 0)),
        "windows beyond all": begun + frame(WINDOW, 1, numbers(">I", 2**31 - 1)) * 2,
        "windows beyond all for all": frame(WINDOW, 0, numbers(">I", 2**31 - 1)) * 2,
        "a window of an idle stream": frame(WINDOW, 9, numbers(">I", 1)),
        "half a window": frame(WINDOW, 0, b"\0\0\0"),
        "half a setting": frame(SETTINGS, body=b"\0\x04\0"),
        "settings of a stream": frame(SETTINGS, 1),
        "settings that confirm": frame(SETTINGS, body=bytes(6), flags=ACK),
        "a window in settings beyond all": frame(SETTINGS, body=numbers(">HI", 4, 2**31)),
        "frames in settings too small": frame(SETTINGS, body=numbers(">HI", 5, 1)),
        "push in settings": frame(SETTINGS, body=numbers(">HI", 2, 7)),
        "settings that nobody knows": frame(SETTINGS, body=numbers(">HI", 999, 1)) + mine,
        "tables of 4 GiB": frame(SETTINGS, body=numbers(">HI", 1, 2**32 - 1)) + mine,
        "confirmed, never sent": frame(SETTINGS, flags=ACK) * 50,
        "a ping of a stream": frame(PING, 1, bytes(8)),
        "half a ping": frame(PING, body=b"1234"),
        "a promise": frame(PUSH, 1, numbers(">I", 2) + head, END_HEADERS),
        "a reset of an idle stream": frame(RESET, 9, numbers(">I", 8)),
        "a reset of no stream": frame(RESET, 0, numbers(">I", 8)),
        "half a reset": begun + frame(RESET, 1, b"\0"),
        "a reset and more of it": begun
        + frame(RESET, 1, numbers(">I", 8))
        + frame(DATA, 1, SMUGGLED),
        "a priority of itself": frame(PRIORITY, 1, numbers(">IB", 1, 0)),
        "half a priority": frame(PRIORITY, 1, b"\0"),
        "goodbye, and a request": frame(GOAWAY, body=numbers(">II", 0, 0)) + mine,
        "goodbye of a stream": frame(GOAWAY, 1, numbers(">II", 0, 0)),
        "frames that nobody knows": frame(99, 1, bytes(50), 255) * 20 + mine,
        "HTTP/1 within": SMUGGLED,
        "the beginning again": PREFACE + mine,
        "never any data": begun,
        "a request of HTTP/1 in data": frame(HEADERS, 1, head, END_HEADERS)
        + frame(DATA, 1, b"0\r\n\r\n" + SMUGGLED, END_STREAM),
    }
    whole = {name: connection(frames) for name, frames in found.items()}
    whole["no settings"] = PREFACE + mine
    whole["a wrong beginning"] = PREFACE[:-1] + b"x" + mine
    whole["half a beginning"] = PREFACE[:10]
    return whole


def invented(seed: int) -> bytes:
    """A connection made of what the others are made of. The same for the same seed."""
    choose = random.Random(seed)
    made = bytearray(connection(*_frames(choose)))
    for _ in range(choose.choice((0, 0, 0, 1, 2, 6))):
        # Where it begins nobody would take it for HTTP/2.
        at = choose.randrange(len(PREFACE), len(made))
        made[at : at + choose.choice((0, 1, 1, 2))] = bytes([choose.randrange(256)])
    return bytes(made)


def _frames(choose: random.Random) -> Iterator[bytes]:
    stream = 1
    for _ in range(choose.randrange(1, 8)):
        kind = choose.randrange(6)
        if kind < 3:
            yield request(_fields(choose), choose.choice((b"{}", None, SMUGGLED, b"")), stream)
            stream += choose.choice((2, 2, 2, 0, 1))
        elif kind == 3:
            yield called(_named(choose.choice(("mine", "victim"))), *_some(choose), stream=stream)
            stream += 2
        elif kind == 4:
            size = choose.choice((0, 1, 4, 5, 6, 8, 9, 100))
            number = choose.choice((0, 1, stream, stream + 2, 2**31 - 1))
            yield frame(
                choose.randrange(11),
                number,
                choose.randbytes(size),
                choose.choice((0, 1, 4, 5, 8, 32, 255)),
            )
        else:
            whole = coded(_fields(choose))
            cut = choose.randrange(len(whole))
            yield frame(HEADERS, stream, whole[:cut], choose.choice((0, END_STREAM)))
            yield frame(
                CONTINUATION, stream, whole[cut:], choose.choice((END_HEADERS, END_HEADERS, 0))
            )
            yield frame(DATA, stream, b"{}", END_STREAM)
            stream += 2


def _some(choose: random.Random) -> list[Field]:
    odd: tuple[Field, ...] = (
        choose.choice(_FOREIGN),
        (b"x", choose.choice(_BAD_VALUES)),
        (choose.choice(_BAD_NAMES[:-3]), b"1"),
        (b"content-length", choose.choice(_LENGTHS)),
    )
    return choose.choices(odd, k=choose.choice((0, 0, 1, 2)))


def _fields(choose: random.Random) -> list[Field]:
    if choose.randrange(4) == 0:
        return [*choose.choice([*_PSEUDO.values()]), *_some(choose)]
    path = choose.choice((MINE_PATH, MINE_PATH, VICTIM_PATH, *_IN_A_PATH[:-1]))
    return asked(
        *_some(choose), path=path, method=choose.choice((b"POST", b"POST", *_METHODS[:-2]))
    )
