"""A running Overbook that asks for tokens, and calls with those of different holders."""

from __future__ import annotations

import httpx

from tests.e2e.process import Overbook
from tests.e2e.zoo import TrainedModel


class Held:
    """A running Overbook, and the tokens that were made."""

    def __init__(self, running: Overbook, models: dict[str, TrainedModel]) -> None:
        self.running = running
        self.models = models
        self.tokens: dict[str, str] = {}

    def make(self, name: str, *arguments: str) -> str:
        made = self.running.run("token", "create", name, *arguments)
        assert made.code == 0, made.err
        self.tokens[name] = made.out.strip()
        return self.tokens[name]

    def headers(self, name: str | None) -> dict[str, str]:
        return {} if name is None else {"authorization": f"Bearer {self.tokens[name]}"}

    def call(
        self, who: str | None, method: str, path: str, *, json: object = None
    ) -> httpx.Response:
        """Of the data plane, on a connection of its own."""
        return self._ask(self.running.port, who, method, path, json)

    def infer(self, who: str | None, model: str) -> httpx.Response:
        return self.call(who, "POST", f"/v2/models/{model}/infer", json=self.request(model))

    def request(self, model: str) -> dict[str, object]:
        inputs = (
            self.models[model].inputs if model in self.models else self.models["team-a-x"].inputs
        )
        return {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP64",
                    "shape": list(inputs.shape),
                    "data": inputs.ravel().tolist(),
                }
            ]
        }

    def api(
        self, who: str | None, method: str, path: str, *, json: object = None
    ) -> httpx.Response:
        """Of the control API, likewise."""
        return self._ask(self.running.api_port, who, method, path, json)

    def _ask(
        self, port: int, who: str | None, method: str, path: str, json: object
    ) -> httpx.Response:
        url = f"http://127.0.0.1:{port}{path}"
        return httpx.request(method, url, headers=self.headers(who), json=json, timeout=60)
