"""How near an address is to this machine, and which ones no artifact may come from. Pure.

Machines in a cloud have an address at which whoever asks gets the machine's own credentials. A storageUri, or a server
that redirects, must never make us ask there.
"""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from typing import Final, TypeAlias

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Of Azure, Alibaba, Oracle, AWS and Google, as far as they are not link-local.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
# A proxy would resolve these for us.
_METADATA_NAMES: Final = frozenset(
    {
        "metadata",
        "metadata.goog",
        "metadata.google.internal",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Zone(IntEnum):
    """From near to far. A redirect may lead outwards only, so a server in the internet cannot point into a network."""

    NEVER = 0
    LOOPBACK = 1
    PRIVATE = 2
    PUBLIC = 3


def zone_of(address: str) -> Zone:
    """``address``: IPv4 or IPv6. Raises ValueError for anything else."""
    ip = _innermost(ipaddress.ip_address(address))
    if ip.is_link_local or ip in _METADATA:
        return Zone.NEVER
    # 0.0.0.0 and :: are this machine, too, where one connects to them.
    if ip.is_loopback or ip.is_unspecified:
        return Zone.LOOPBACK
    return Zone.PUBLIC if ip.is_global else Zone.PRIVATE


def _innermost(ip: _Address) -> _Address:
    """The IPv4 address where packets to an IPv6 one end there."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.scope_id is not None:
        # Addresses with a scope equal none without, and sets are asked by equality.
        ip = ipaddress.IPv6Address(int(ip))
    return ip.ipv4_mapped or ip.sixtofour or ip


def is_metadata(host: str) -> bool:
    """Whether it is a name of a cloud's metadata server."""
    return host.lower().rstrip(".") in _METADATA_NAMES
