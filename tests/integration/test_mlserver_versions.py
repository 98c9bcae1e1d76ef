"""Models that another scikit-learn saved: what is warned of, and what a load that fails says. One real server."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import joblib
import pytest
import pytest_asyncio
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.agent.servers.protocol import ModelRejected, PreparedModel, WeighingFailed
from tests.integration import mlserver_harness, own_doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 60.0
DIFFERENCE = (
    f"saved with scikit-learn 1.6.1, but {sklearn.__version__} is installed here; save it again"
)

Said = dict[str, list[str]]


@pytest.fixture(scope="module")
def said() -> Said:
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    said: Said, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MlserverServer]:
    def warn(model: PreparedModel, texts: Iterable[str]) -> None:
        said.setdefault(model.name, []).extend(texts)

    made = mlserver_harness.runtime()
    folder = tmp_path_factory.mktemp("server")
    running = MlserverServer(
        MlserverConfig(python=made.python, plugin=made.plugin, state=folder, warn=warn)
    )
    await running.start(timeout=60)
    yield running
    await running.close()


def saved_elsewhere(
    folder: Path, name: str, *, broken: bool = False, forgotten: bool = False
) -> PreparedModel:
    """A pipeline as another version would have saved it; ``broken``: with a class that is not here any more;
    ``forgotten``: without an attribute that this version wants.
    """
    texts = ["one two", "three four"] * 9
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [0, 1] * 9)
    if forgotten:
        del pipeline[-1].coef_
    written = io.BytesIO()
    joblib.dump(pipeline, written)
    content = written.getvalue().replace(sklearn.__version__.encode(), b"1.6.1")
    if broken:
        content = content.replace(b"LogisticRegression", b"LogisticRegressiom")
    (folder / name).mkdir()
    (folder / name / "model.joblib").write_bytes(content)
    return PreparedModel(name, 1, folder / name)


async def test_a_load_that_works_all_the_same_warns_each_time(
    server: MlserverServer, said: Said, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        model = saved_elsewhere(tmp_path, name)
        await server.validate(model)
        assert [text.startswith(DIFFERENCE) for text in said[name]] == [True]
        await server.load(model, timeout=CALL)
        warned = said[name][1:]
        told = f"saved with scikit-learn 1.6.1, but {sklearn.__version__} is installed here: it may fail"
        assert [told in text for text in warned] == [True], "once, of whichever model"
        said[name].clear()
        assert await server.weigh(model, timeout=CALL) is not None
        assert sorted(said[name]) == sorted(warned), "the trial tells the same"
        await server.unload(name, timeout=CALL)


async def test_what_such_a_model_raises_when_it_is_asked_says_so(
    server: MlserverServer, tmp_path: Path
) -> None:
    model = saved_elsewhere(tmp_path, "asked", forgotten=True)
    await server.load(model, timeout=CALL)
    text = {"content_type": "str"}
    tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": ["one"], "parameters": text}
    async with own_doors.http_client(server.addresses.rest) as client:
        reply = await client.post("/v2/models/asked/infer", json={"inputs": [tensor]})
    told = (
        f"the model was saved with scikit-learn 1.6.1, but {sklearn.__version__} is installed here"
    )
    assert reply.status_code == 500
    assert reply.json()["error"].startswith("AttributeError: ")
    assert reply.json()["error"].endswith(told)


async def test_a_load_that_fails_says_which_versions(
    server: MlserverServer, tmp_path: Path
) -> None:
    model = saved_elsewhere(tmp_path, "broken", broken=True)
    with pytest.raises(ModelRejected, match=f"LogisticRegressiom.*model.joblib; {DIFFERENCE}"):
        await server.load(model, timeout=CALL)
    with pytest.raises(WeighingFailed, match=f"LogisticRegressiom.*; {DIFFERENCE}"):
        await server.weigh(model, timeout=CALL)
