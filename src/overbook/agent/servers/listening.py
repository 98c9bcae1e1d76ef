"""Which process of this machine listens at an address, when it is ours to see. No state."""

from __future__ import annotations

import ipaddress

import psutil


def listening_process(address: str, command: str) -> int | None:
    """The pid of who listens at ``host:port`` and has ``command`` in its command line; None when nobody is seen.

    A container's port is listened on by a proxy, whose memory says nothing of the server's: hence the command.
    """
    host, _, port = address.rpartition(":")
    if not ipaddress.ip_address(host.strip("[]")).is_loopback:
        return None
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return None
    for each in connections:
        if each.status != psutil.CONN_LISTEN or each.pid is None or not each.laddr:
            continue
        if each.laddr.port != int(port):
            continue
        try:
            if command in " ".join(psutil.Process(each.pid).cmdline()):
                return each.pid
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return None
