"""Serves CatBoost models of every kind, with as many threads as the agent says.

MLServer's own class takes each model for a classifier (a regressor then fails at its first request) and uses all
the machine's processors for each prediction.
"""

from __future__ import annotations

from catboost import CatBoost, CatBoostClassifier, CatBoostError, to_classifier, to_regressor
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.errors import InferenceError
from mlserver.model import MLModel
from mlserver.types import InferenceRequest, InferenceResponse

from overbook_mlserver.threads import threads

_CLASSIFIER_OUTPUTS = ("predict", "predict_proba")


class CatboostModel(MLModel):
    async def load(self) -> bool:
        path = self.settings.parameters.uri if self.settings.parameters else ""
        self._model = _loaded(path)
        self._outputs = (
            _CLASSIFIER_OUTPUTS if isinstance(self._model, CatBoostClassifier) else ("predict",)
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        names = [output.name for output in payload.outputs or ()] or ["predict"]
        for name in names:
            if name not in self._outputs:
                raise InferenceError(
                    f"outputs: {name!r}; expected one of {', '.join(self._outputs)}"
                )
        rows = self.decode_request(payload, default_codec=NumpyRequestCodec)
        outputs = []
        for name in names:
            answer = getattr(self._model, name)(rows, thread_count=threads())
            outputs.append(NumpyCodec.encode_output(name, answer))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def _loaded(path: str) -> CatBoost:
    # Read once: CatBoost keeps the interpreter lock meanwhile, about a millisecond for each MB.
    model = CatBoost().load_model(path)
    if len(model.classes_):
        return to_classifier(model)
    try:
        return to_regressor(model)
    except CatBoostError:
        # Of another objective, such as ranking: its raw values are the answer.
        return model
