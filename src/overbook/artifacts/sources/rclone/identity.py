"""Who this machine is to a store when no secret says otherwise. Pure, but for `this_machine`.

Where a machine has no identity at all it comes as a stranger: what a store shows to everybody is seen, and no
metadata server is waited for that does not exist.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown

_DMI: Final = Path("/sys/class/dmi/id")
_AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
_AWS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
# Variables that begin so say who somebody is: to clouds, OpenStack, Kerberos, and the agent of SSH.
_WHO: Final = (
    *("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "OCI_", "OS_", "KRB5"),
    *("SSH_AUTH_SOCK", "IDENTITY_", "MSI_"),
)
_AZURE: Final = ("AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID")


@dataclass(frozen=True, slots=True)
class Machine:
    """``environment``: of this process; in no text. ``home``: its user's. ``cloud``: "aws", "gcp", "azure" or ""."""

    environment: Mapping[str, str] = field(repr=False)
    home: Path
    cloud: str = ""
    exists: Callable[[Path], bool] = Path.is_file

    def said(self, *names: str) -> str:
        """The first of these variables that says something."""
        return next((self.environment[name] for name in names if self.environment.get(name)), "")


def this_machine() -> Machine:
    """As it is now: blocking, brief."""
    return Machine(dict(os.environ), Path.home(), _cloud())


def _cloud() -> str:
    told = {}
    for name in ("sys_vendor", "product_name", "bios_version", "chassis_asset_tag"):
        told[name] = ""
        with contextlib.suppress(OSError):
            told[name] = (_DMI / name).read_text(errors="replace").strip()
    if told["sys_vendor"] == "Amazon EC2" or "amazon" in told["bios_version"]:
        return "aws"
    if told["product_name"].startswith("Google"):
        return "gcp"
    return "azure" if told["chassis_asset_tag"] == _AZURE_TAG else ""


def s3(machine: Machine) -> dict[str, str]:
    """Parameters of a remote."""
    endpoint = machine.said("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    region = machine.said("AWS_REGION", "AWS_DEFAULT_REGION")
    known = (
        machine.cloud == "aws"
        or bool(machine.said(*_AWS))
        or any(machine.exists(each) for each in _aws_files(machine))
    )
    parameters = {"provider": "Other" if endpoint else "AWS", "env_auth": _word(known)}
    return parameters | _given(endpoint=endpoint, region=region)


def _aws_files(machine: Machine) -> tuple[Path, Path]:
    shared = machine.said("AWS_SHARED_CREDENTIALS_FILE") or machine.home / ".aws" / "credentials"
    config = machine.said("AWS_CONFIG_FILE") or machine.home / ".aws" / "config"
    return Path(shared), Path(config)


def gcs(machine: Machine) -> dict[str, str]:
    """Parameters of a remote."""
    folder = machine.said("CLOUDSDK_CONFIG") or machine.home / ".config" / "gcloud"
    known = (
        machine.cloud == "gcp"
        or bool(machine.said("GOOGLE_APPLICATION_CREDENTIALS"))
        or machine.exists(Path(folder) / "application_default_credentials.json")
    )
    emulator = machine.said("STORAGE_EMULATOR_HOST")
    if emulator:
        host = emulator if "://" in emulator else f"http://{emulator}"
        return {"anonymous": "true", "endpoint": f"{host.rstrip('/')}/storage/v1/"}
    return {"env_auth": "true"} if known else {"anonymous": "true"}


def azureblob(machine: Machine, uri: str) -> dict[str, str]:
    """Parameters of a remote. Raises SourceError where nothing says whose storage is meant."""
    if connection := machine.said("AZURE_STORAGE_CONNECTION_STRING"):
        return {"connection_string": connection}
    account = machine.said("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
    if not account:
        raise SourceError(
            Trouble.BAD_ADDRESS,
            f"{shown(uri)}: nothing says whose storage it is; expected a secretName with a remote of type azureblob, "
            "or AZURE_STORAGE_ACCOUNT_NAME in the agent's environment",
        )
    if key := machine.said("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"):
        return {"account": account, "key": key}
    known = machine.cloud == "azure" or bool(machine.said(*_AZURE))
    return {"account": account} | _given(env_auth="true" if known else "")


def sftp(machine: Machine) -> dict[str, str]:
    """Parameters of a remote, but for whose it is: keys of this user, and the hosts that it knows."""
    folder = machine.home / ".ssh"
    keys = [folder / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
    key = next((str(each) for each in keys if machine.exists(each)), "")
    # A file that is missing knows nobody: then nobody is trusted.
    return {"known_hosts_file": str(known_hosts(machine))} | _given(key_file=key)


def known_hosts(machine: Machine) -> Path:
    """The file with the keys of hosts that this user knows."""
    return machine.home / ".ssh" / "known_hosts"


def environment_of_stranger(machine: Machine, *, itself: bool) -> dict[str, str]:
    """What rclone's process is to have of our environment. ``itself``: also what says who the machine is."""
    kept = {
        name: value
        for name, value in machine.environment.items()
        # Options of rclone's own are ours to give.
        if not name.startswith("RCLONE_") and (itself or not name.startswith(_WHO))
    }
    if machine.cloud != "aws":
        kept["AWS_EC2_METADATA_DISABLED"] = "true"
    return kept


def _given(**parameters: str) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if value}


def _word(true: bool) -> str:
    return "true" if true else "false"
