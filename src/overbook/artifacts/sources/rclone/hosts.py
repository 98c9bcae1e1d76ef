"""To which servers rclone may go for a remote of a secret's, so that none can send it elsewhere by a redirect. Pure.

Rclone follows redirects wherever they lead. What Go's programs do have is a proxy by environment, with exceptions: the
proxy that they are told of is none, and the exceptions are the store's own hosts. So nothing stands between rclone and
its store. Go asks no proxy for the machine itself (loopback), and a name that leads to another address is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from overbook.artifacts.sources.rclone.sections import Unwritable
from overbook.artifacts.sources.web.connect.zones import Zone, is_metadata, zone_of

# Nobody can listen there.
NOWHERE: Final = "127.0.0.1:0"
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
# Of those who have no endpoint of their own, and of the services that let them in.
_CLOUDS: Final = {
    "s3": ("amazonaws.com", "amazonaws.com.cn", "api.aws"),
    "google cloud storage": ("googleapis.com", "accounts.google.com"),
    "gcs": ("googleapis.com", "accounts.google.com"),
    "azureblob": (
        *("windows.net", "chinacloudapi.cn", "usgovcloudapi.net", "azure.net"),
        *("microsoftonline.com", "microsoftonline.us", "microsoftonline.cn"),
    ),
}
# Where a machine in a cloud is told who it is.
_METADATA: Final = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"),
    "metadata.google.internal",
)
_IDENTITY: Final = ("awsapps.com", "signin.aws")
# Parameters with the address of a server, whatever the type.
_ADDRESSES: Final = ("endpoint", "url", "sas_url", "host", "auth", "storage_url", "sts_endpoint")


def refuse_metadata(parameters: Mapping[str, str]) -> None:
    """Raises Unwritable for a parameter that says a cloud's metadata server."""
    for key in _ADDRESSES:
        host = _host(parameters.get(key, ""))
        if host and (is_metadata(host) or _is_never(host)):
            raise Unwritable(
                f"its {key} is the address at which a cloud tells machines who they are; expected a store's"
            )


def bounds(
    kind: str, parameters: Mapping[str, str], environment: Mapping[str, str], *, itself: bool
) -> dict[str, str]:
    """Variables for rclone's process. None where the type has no known hosts, or a proxy is there already, which then
    says where one may go. ``itself``: it may also ask who this machine is.
    """
    if kind not in _CLOUDS or any(environment.get(each) for each in _PROXIES):
        return {}
    own = tuple(
        place for key in ("endpoint", "sas_url") if (place := _place(parameters.get(key, "")))
    )
    own += _in_connection_string(parameters.get("connection_string", ""))
    # A store with an endpoint needs the cloud's own hosts only to be let in.
    known = (
        () if own and kind == "s3" and not (itself or parameters.get("role_arn")) else _CLOUDS[kind]
    )
    if parameters.get("ibm_api_key"):
        known += (_place(parameters.get("ibm_iam_endpoint", "")) or "iam.cloud.ibm.com",)
    if itself:
        known += (*_METADATA, *_IDENTITY)
    nowhere = f"http://{NOWHERE}"
    return {
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": ",".join((*own, *known)),
    }


def _in_connection_string(text: str) -> tuple[str, ...]:
    """Hosts that a connection string of Azure's names."""
    pairs = [pair.partition("=")[::2] for pair in text.split(";")]
    return tuple(
        place
        for key, value in pairs
        if key.strip().lower().endswith(("endpoint", "endpointsuffix"))
        and (place := _place(value.strip()))
    )


def _place(address: str) -> str:
    """Host and, where it has one, port, as exceptions of a proxy are written."""
    host = _host(address)
    port = _port(address)
    if not host or not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _host(address: str) -> str:
    try:
        return urlsplit(_with_scheme(address)).hostname or ""
    except ValueError:
        return ""


def _port(address: str) -> int | None:
    try:
        return urlsplit(_with_scheme(address)).port
    except ValueError:
        return None


def _with_scheme(address: str) -> str:
    return address if not address or "://" in address else f"https://{address}"


def _is_never(host: str) -> bool:
    try:
        return zone_of(host) is Zone.NEVER
    except ValueError:
        return False
