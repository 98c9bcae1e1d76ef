"""Two real S3 servers: moto's, which knows users, policies and multipart uploads, and rclone's own, which is quick.

Each has a proxy before it, which counts and disturbs. What is put into moto's goes around the proxy.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.stores.processes import HOST, RCLONE, STORES, environment, free_port, running
from tests.stores.proxy import Proxy, Request, proxy
from tests.stores.self_signed import Tls

ACCESS_KEY: Final = "AKIAQ7EXAMPLE4SHELF2"
SECRET_KEY: Final = "h0rs3/battery+staple+correct+0123456789a"
_PARTS: Final = 5 * 2**20

# What cannot be said in one line to moto: users with keys of their own, and what they may do.
_NEW_USER: Final = """
import boto3, json, sys
port, name, policy = sys.argv[1:]
iam = boto3.client("iam", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                   aws_access_key_id="root", aws_secret_access_key="root")
iam.create_user(UserName=name)
iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=policy)
key = iam.create_access_key(UserName=name)["AccessKey"]
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""
_MARK: Final = """
import boto3, sys
port, bucket, key = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                  aws_access_key_id="x", aws_secret_access_key="x")
s3.put_object(Bucket=bucket, Key=key, Body=b"")
"""
_IN_PARTS: Final = """
import boto3, os, sys
port, bucket, key, size, part = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                  aws_access_key_id="x", aws_secret_access_key="x")
upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
left, parts = int(size), []
while left:
    body = os.urandom(min(left, int(part)))
    number = len(parts) + 1
    tag = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)["ETag"]
    parts.append({"ETag": tag, "PartNumber": number})
    left -= len(body)
s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
"""
_STRICT: Final = """
import sys, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:{sys.argv[1]}/moto-api/reset-auth", data=sys.argv[2].encode(),
                                 headers={"Content-Type": "text/plain"})
urllib.request.urlopen(request).read()
"""


@dataclass(frozen=True, slots=True)
class S3Store:
    """``port``: of the server itself. ``front``: the proxy, through which clients go."""

    port: int
    front: Proxy
    folder: Path | None = None
    parameters: Mapping[str, str] = field(
        default_factory=lambda: {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
    )

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.front.port}"

    def remote(self, **changed: str) -> dict[str, str]:
        """The parameters of a secret that leads here, some of them otherwise."""
        plain = {"provider": "Other", "env_auth": "false", "endpoint": self.endpoint}
        return plain | dict(self.parameters) | changed

    def make_bucket(self, bucket: str) -> None:
        if self.folder is not None:
            (self.folder / bucket).mkdir(exist_ok=True)
        else:
            self._rclone("mkdir", f"store:{bucket}")

    def put(self, bucket: str, key: str, content: bytes, acl: str = "private") -> None:
        """One object; in parts where it has more than 5 MiB. The bucket is made where it is missing. ``acl``: of moto,
        which looks at it.
        """
        with tempfile.TemporaryDirectory(dir=self.folder and self.folder.parent) as folder:
            file = Path(folder) / "object"
            file.write_bytes(content)
            if self.folder is not None:
                # By one rename: the server may be read meanwhile.
                target = self.folder / bucket / key
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
            else:
                self._rclone("copyto", "--s3-acl", acl, str(file), f"store:{bucket}/{key}")

    def put_mark(self, bucket: str, key: str) -> None:
        """Only moto: an empty object whose key ends with a slash, as consoles make folders."""
        self._python(_MARK, bucket, key)

    def put_parts(self, bucket: str, key: str, size: int) -> None:
        """Only moto: random bytes, in parts, without a word of their hash."""
        self._python(_IN_PARTS, bucket, key, str(size), str(_PARTS))

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> None:
        """All files below a folder, as objects whose keys begin with ``prefix/``."""
        self._rclone("copy", str(folder), f"store:{bucket}/{prefix}".rstrip("/"))

    def remove(self, bucket: str, key: str) -> None:
        self._rclone("deletefile", f"store:{bucket}/{key}")

    def requests(self) -> list[Request]:
        """Of all clients since `forget`, but not those that put something."""
        return self.front.requests()

    def forget(self) -> None:
        self.front.forget()

    def new_user(self, name: str, policy: Mapping[str, object]) -> tuple[str, str]:
        """Only moto has users: its key id and secret key. They matter from `be_strict` on."""
        said = self._python(_NEW_USER, name, json.dumps(policy))
        key_id, secret_key = json.loads(said)
        return key_id, secret_key

    @contextlib.contextmanager
    def be_strict(self) -> Iterator[None]:
        """Only moto: inside, signatures and policies are looked at."""
        self._python(_STRICT, "0")
        try:
            yield
        finally:
            self._python(_STRICT, "1000000000")

    def _python(self, program: str, *arguments: str) -> str:
        command = [str(STORES / "python"), "-c", program, str(self.port), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        return done.stdout

    def _rclone(self, *arguments: str) -> None:
        remote = self.remote(endpoint=f"http://{HOST}:{self.port}", type="s3")
        remote |= {"upload_cutoff": f"{_PARTS}B", "chunk_size": f"{_PARTS}B"}
        told = {f"RCLONE_CONFIG_STORE_{name.upper()}": value for name, value in remote.items()}
        command = [str(RCLONE), "--config", "", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(**told))
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])


@contextlib.contextmanager
def moto_s3(folder: Path) -> Iterator[S3Store]:
    """Moto's server, in memory. ``folder``: for its log."""
    port = free_port()
    command: list[str | Path] = [STORES / "moto_server", "-H", HOST, "-p", str(port)]
    env = environment(INITIAL_NO_AUTH_ACTION_COUNT="1000000000")
    with running(command, port, folder / "moto.log", env), proxy(port) as front:
        yield S3Store(port, front)


@contextlib.contextmanager
def rclone_s3(folder: Path, tls: Tls | None = None, *, settled: bool = False) -> Iterator[S3Store]:
    """Rclone's server. ``folder``: of which each folder is a bucket.

    ``settled``: what is in there stays as it is, so that the server reads an object for its hash once, not every time.
    """
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [
        *(RCLONE, "--config", "", "serve", "s3", "--no-modtime"),
        # Otherwise what was put into the folder is to be there at once.
        *("--dir-cache-time", "24h" if settled else "0", "--addr", f"{HOST}:{port}", folder),
    ]
    if tls is not None:
        command += ["--cert", tls.certificate, "--key", tls.key]
    env = environment(RCLONE_AUTH_KEY=f'"{ACCESS_KEY},{SECRET_KEY}"')
    log = folder.parent / f"{folder.name}.log"
    with running(command, port, log, env), proxy(port) as front:
        yield S3Store(port, front, folder)
