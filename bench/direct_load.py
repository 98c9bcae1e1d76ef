"""MLServer's own load call on a running server, past Overbook: what an activation cannot be quicker than."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc

from bench.errors import BenchFailed
from bench.grpc_load import SERVICE
from bench.instance import Instance
from overbook.agent.servers.mlserver.settings import SETTINGS_FILE, server_settings
from overbook.agent.servers.protocol import PreparedModel
from overbook.wire import oip_pb2

_NAME: Final = "loaded-directly"
_SECONDS: Final = 30.0


class DirectLoader:
    """Loads artifacts under a name that the agent does not know, and unloads them again."""

    def __init__(self, channel: grpc.Channel, models: Path) -> None:
        self._folder = models / _NAME
        self._load: grpc.UnaryUnaryMultiCallable[
            oip_pb2.RepositoryModelLoadRequest, oip_pb2.RepositoryModelLoadResponse
        ] = channel.unary_unary(
            f"{SERVICE}RepositoryModelLoad",
            request_serializer=oip_pb2.RepositoryModelLoadRequest.SerializeToString,
            response_deserializer=oip_pb2.RepositoryModelLoadResponse.FromString,
        )
        self._unload: grpc.UnaryUnaryMultiCallable[
            oip_pb2.RepositoryModelUnloadRequest, oip_pb2.RepositoryModelUnloadResponse
        ] = channel.unary_unary(
            f"{SERVICE}RepositoryModelUnload",
            request_serializer=oip_pb2.RepositoryModelUnloadRequest.SerializeToString,
            response_deserializer=oip_pb2.RepositoryModelUnloadResponse.FromString,
        )

    def load(self, home: Path) -> float:
        """The milliseconds that the load call takes."""
        model = PreparedModel(name=_NAME, generation=1, artifact=home)
        self._folder.mkdir(parents=True)
        settings = self._folder / SETTINGS_FILE
        settings.write_text(json.dumps(server_settings(model)))
        try:
            began = time.perf_counter()
            self._load(oip_pb2.RepositoryModelLoadRequest(model_name=_NAME), timeout=_SECONDS)
            took = time.perf_counter() - began
            unload = oip_pb2.RepositoryModelUnloadRequest(model_name=_NAME)
            self._unload(unload, timeout=_SECONDS)
        except grpc.RpcError as error:
            raise BenchFailed(f"MLServer's load of {home}: {error}") from None
        finally:
            settings.unlink()
            self._folder.rmdir()
        return took * 1000


@contextlib.contextmanager
def direct_loader(instance: Instance) -> Iterator[DirectLoader]:
    with grpc.insecure_channel(instance.server_address("grpc")) as channel:
        yield DirectLoader(channel, instance.models_folder)
