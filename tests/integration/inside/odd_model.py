"""A model of MLServer whose answers depend on its first input's name: errors, headers, waits, what it was given."""

import asyncio
import gc

import mlserver
from fastapi import HTTPException
from mlserver.codecs import StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, Parameters


class Model(mlserver.MLModel):
    async def load(self):
        self.cancelled = 0
        return True

    async def predict(self, payload):
        asked = payload.inputs[0].name
        headers = payload.parameters.headers
        if asked == "fail":
            raise RuntimeError("it broke: 100 %\nsecond line é")
        if asked == "refuse":
            raise InferenceError("no: é %")
        if asked == "teapot":
            raise HTTPException(status_code=418, detail="tea", headers={"x-tea": "green"})
        if asked == "wait":
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        text = {
            "cancelled": lambda: str(self.cancelled),
            "header": lambda: str(headers.get("x-mine")),
            "keys": lambda: ",".join(sorted(headers)),
            "parameters": lambda: repr(
                {k: v for k, v in payload.parameters.model_dump().items() if k != "headers"}
            ),
            "bytes": lambda: repr(list(payload.inputs[0].data)),
            "heads": lambda: str(
                sum(
                    type(each) is list and b"x-of-this-test" in repr(each[:9]).encode()
                    for each in gc.get_objects()
                )
            ),
        }.get(asked, lambda: asked)()
        parameters = Parameters(headers={"X-Answer": "one", "x-ANSWER": "two"})
        if asked == "bad-header":
            parameters = Parameters(headers={"x-bad": "a\nb"})
        return InferenceResponse(
            model_name=self.name,
            parameters=parameters,
            outputs=[StringCodec.encode_output("text", [text])],
        )

    async def predict_stream(self, payloads):
        async for _ in payloads:
            for part in ("a", "b"):
                yield InferenceResponse(
                    model_name=self.name, outputs=[StringCodec.encode_output("text", [part])]
                )

    @mlserver.handlers.custom_handler(rest_path="/odd")
    async def odd(self) -> str:
        return "handled"

    @mlserver.handlers.custom_handler(rest_path="/whose", rest_method="GET")
    async def whose(self) -> str:
        return self.name
