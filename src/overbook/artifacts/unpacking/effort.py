"""What unpacking may cost beside what is kept of it, and where it hears that nobody waits for it any more.

A few kilobytes can say gigabytes of nothing, or a million members. So what may be passed over, and how many members
may come, grows with the bytes that were fetched: a small archive costs little, whatever is in it. What is kept is
bounded in `placing`, and what reading costs inside of a format by its own reader.
"""

from __future__ import annotations

from typing import Final

from overbook.artifacts.compressed import Readable
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.stopping import CheckStopped

# Bytes that come out and are in no file that is kept: headers, padding, and what else is in an image.
_FREE_BYTES: Final = 256 << 20
# So many more for each byte that was fetched. Of an image's layer gzip makes a third, of an empty file a thousandth.
_TIMES: Final = 100
# A folder may come several times.
_FREE_MEMBERS_EACH: Final = 2
# One more for so many bytes that were fetched, up to a whole operating system with its packages (100,000) and more.
_MEMBER_BYTES: Final = 16
_MOST_MEMBERS: Final = 1_000_000


class Effort:
    """Of one archive, or all layers of an image. ``packed``: bytes that were fetched. ``entries``: that may be kept."""

    def __init__(self, packed: int, entries: int, check_stopped: CheckStopped) -> None:
        self._check_stopped = check_stopped
        self._bytes = _FREE_BYTES + _TIMES * packed
        self._members = min(_MOST_MEMBERS, _FREE_MEMBERS_EACH * entries + packed // _MEMBER_BYTES)
        self._nobodys = 0
        self._came = 0

    def step(self) -> None:
        """Something was done. Raises what ``check_stopped`` does."""
        self._check_stopped()

    def member(self, source: str) -> None:
        """One more has come or is looked at again. Raises SourceError. ``source``: what people call the archive."""
        self.step()
        self._came += 1
        if self._came > self._members:
            raise _refused(source, f"{self._members} members")

    def unpacked(self, count: int, source: str) -> None:
        """Bytes have come out, which nobody has kept yet. ``source`` and errors as of `member`."""
        self.step()
        self._nobodys += count
        if self._nobodys > self._bytes:
            raise _refused(source, f"{self._bytes} bytes beside the files of the model")

    def kept(self, count: int) -> None:
        """Of the bytes that have come out."""
        self._nobodys -= count

    def packed_bytes(self, file: Readable) -> Readable:
        """The file, of which each read is a step."""
        return _Fetched(file, self)

    def unpacked_bytes(self, stream: Readable, source: str) -> Readable:
        """The stream, whose bytes are counted as they come out."""
        return _Unpacked(stream, self, source)


class _Fetched:
    def __init__(self, file: Readable, effort: Effort) -> None:
        self._file = file
        self._effort = effort

    def read(self, size: int, /) -> bytes:
        self._effort.step()
        return self._file.read(size)


class _Unpacked:
    def __init__(self, stream: Readable, effort: Effort, source: str) -> None:
        self._stream = stream
        self._effort = effort
        self._source = source

    def read(self, size: int, /) -> bytes:
        part = self._stream.read(size)
        self._effort.unpacked(len(part), self._source)
        return part


def _refused(source: str, what: str) -> SourceError:
    return SourceError(
        Trouble.REFUSED,
        f"{source} has more than {what}, which is too much for so small an archive; expected a model's files as `tar` "
        "or `docker` packs them",
    )
