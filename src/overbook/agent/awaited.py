"""What a request waits for, in words, where the files of its model are not here. Pure; times are arguments."""

from __future__ import annotations

from overbook.artifacts.transfer import Transferred
from overbook.manifests.quantities import format_bytes


def what_is_awaited(
    transfer: Transferred | None,
    *,
    failure: str = "",
    delay: str = "",
    retry_in: float | None = None,
) -> str:
    """The predicate of a sentence about its files. ``transfer``: how far their fetch is. ``failure``,
    ``delay``: why they did not come, and what their fetch waits for; "" for none. ``retry_in``: seconds until the next
    try, None while one is under way.
    """
    if transfer is not None and transfer.done:
        return f"are being fetched: {_progress(transfer)}"
    if delay:
        return f"are not here yet: {delay}"
    if failure and retry_in is not None:
        return f"are tried again in {max(0.0, retry_in):.0f} s: {failure}"
    if failure:
        return f"are tried again just now: {failure}"
    if transfer is not None:
        return "are about to be fetched"
    return "are looked for where they come from"


def _progress(transfer: Transferred) -> str:
    """`40% of 1.2GiB, 8MiB/s, 90 s left`."""
    told = format_bytes(transfer.done)
    if transfer.total:
        share = min(100, int(100 * transfer.done / transfer.total))
        told = f"{share}% of {format_bytes(transfer.total)}"
    if transfer.rate < 1:
        return told
    left = "" if transfer.left is None else f", {transfer.left:.0f} s left"
    return f"{told}, {format_bytes(int(transfer.rate))}/s{left}"
