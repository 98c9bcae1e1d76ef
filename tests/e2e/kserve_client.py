"""Asks one model with the unmodified kserve client, REST and gRPC; prints the answers as JSON.

Runs in an environment of its own (see docs/adr/0002), so it imports nothing of Overbook.
Usage: kserve_client.py PORT MODEL INPUTS-JSON [CA-FILE]
"""

import asyncio
import json
import ssl
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


def clients(port: str, ca: str) -> tuple[str, InferenceRESTClient, InferenceGRPCClient]:
    """Its URL, and a client of each protocol."""
    if not ca:
        rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        return f"http://127.0.0.1:{port}", rest, InferenceGRPCClient(f"127.0.0.1:{port}", retries=0)
    verify = ssl.create_default_context(cafile=ca)
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, verify=verify))
    grpc = InferenceGRPCClient(f"127.0.0.1:{port}", retries=0, use_ssl=True, root_certificates=ca)
    return f"https://127.0.0.1:{port}", rest, grpc


async def main(port: str, model: str, inputs: str, ca: str = "") -> None:
    data = np.array(json.loads(inputs), dtype=np.float64)
    found = {}
    url, rest, grpc = clients(port, ca)
    found["live"] = [await rest.is_server_live(url), await grpc.is_server_live()]
    found["ready"] = [await rest.is_server_ready(url), await grpc.is_server_ready()]
    found["model_ready"] = [
        await rest.is_model_ready(url, model),
        await grpc.is_model_ready(model_name=model),
    ]
    for name, client in (("rest", rest), ("grpc", grpc)):
        tensor = InferInput("x", list(data.shape), "FP64")
        tensor.set_data_from_numpy(data, binary_data=False)
        request = InferRequest(model_name=model, infer_inputs=[tensor])
        if client is rest:
            answer = await rest.infer(url, request, model_name=model)
        else:
            answer = await grpc.infer(request)
        found[name] = answer.outputs[0].as_numpy().ravel().tolist()
    await rest.close()
    await grpc.close()
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
