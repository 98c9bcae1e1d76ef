"""gRPC targets, as people write them: which of them only this machine can reach. A function of text."""

from __future__ import annotations

import ipaddress
from typing import Final

_SCHEMES: Final = ("dns:///", "dns:", "ipv4:", "ipv6:")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to what listens there. A name is somebody else's to give."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_unix(target: str) -> bool:
    """A socket in the file system, or in the kernel's own names."""
    return target.startswith(("unix:", "unix-abstract:"))


def is_near(target: str) -> bool:
    """Whether what goes there stays on this machine."""
    if is_unix(target):
        return True
    for scheme in _SCHEMES:
        target = target.removeprefix(scheme)
    host, _, port = target.rpartition(":")
    return port.isdigit() and is_loopback(host.removeprefix("[").removesuffix("]"))
