"""Where an attached server is: what its name resolves to, and which process of this machine it is, if any."""

from __future__ import annotations

import asyncio
import ipaddress

import psutil

from overbook.agent.servers.protocol import ServerUnreachable


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


async def resolved(field: str, address: str) -> str:
    """``host:port`` with the host as an IP address: the data plane resolves no names. Raises ServerUnreachable."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, int(port))
        except OSError as error:
            raise ServerUnreachable(
                f"spec.address.{field}: {host!r} cannot be resolved ({error.strerror}); correct it"
            ) from error
        # IPv4 first: what a name of this machine stands for often listens there only.
        host = min((family, str(where[0])) for family, _, _, _, where in found)[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
