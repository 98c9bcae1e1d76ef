"""Numbers and times as people read them in a table. Pure: the time now is an argument."""

from __future__ import annotations

from overbook.manifests.quantities import format_bytes


def size(count: int | None) -> str:
    """Bytes, or a dash when they are not known."""
    return "-" if count is None else format_bytes(count)


def ago(then: float | None, now: float) -> str:
    """How long ago, in the two largest units that matter: `4s`, `3m`, `2h5m`, `6d`; `never` for None."""
    if then is None:
        return "never"
    return f"{span(now - then)} ago"


def span(seconds: float) -> str:
    """A duration of at least zero in its largest unit, hours with minutes."""
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 7200:
        return f"{whole // 60}m"
    if whole < 48 * 3600:
        minutes = whole % 3600 // 60
        return f"{whole // 3600}h{minutes}m" if minutes else f"{whole // 3600}h"
    return f"{whole // 86400}d"


def milliseconds(seconds: float) -> str:
    """A latency: three significant digits, in ms below ten seconds."""
    if seconds >= 10:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds * 1000:.0f} ms"


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
