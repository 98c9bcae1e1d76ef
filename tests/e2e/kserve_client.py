"""Asks one model with the unmodified kserve client, REST and gRPC; prints the answers as JSON.

Runs in an environment of its own (see docs/adr/0002), so it imports nothing of Overbook.
Usage: kserve_client.py PORT MODEL INPUTS-JSON
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(port: str, model: str, inputs: str) -> None:
    data = np.array(json.loads(inputs), dtype=np.float64)
    url = f"http://127.0.0.1:{port}"
    found = {}
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    grpc = InferenceGRPCClient(f"127.0.0.1:{port}", retries=0)
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
