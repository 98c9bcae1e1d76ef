"""Statistics without a server: of cold models, and where there are none. With a server: tests/e2e/differential."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2

from overbook.gateway.oip.errors import NoSuchCall, NotAvailable, UnknownModel
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.oip.statistics import Statistics
from tests.unit.gateway.oip.catalogue import FakeCatalogue, answers_of, example

NOBODY = ServerAddress("127.0.0.1:1", "127.0.0.1:1")


@pytest.fixture
def catalogue() -> FakeCatalogue:
    made = example()
    made.kind_of = {"iris": "triton", "wine": "mlserver"}
    return made


@pytest.fixture
def statistics(catalogue: FakeCatalogue) -> Statistics:
    return Statistics(answers_of(catalogue), catalogue)


async def test_a_cold_model_has_counted_nothing(statistics: Statistics) -> None:
    found = await statistics.document("iris", "")
    every = found["model_stats"]
    assert isinstance(every, list)
    (one,) = every
    assert (one["name"], one["version"], one["inference_count"]) == ("iris", "1", 0)
    assert one["inference_stats"]["compute_infer"] == {"count": 0, "ns": 0}


async def test_a_cold_model_has_counted_nothing_over_grpc(statistics: Statistics) -> None:
    found = service_pb2.ModelStatisticsResponse()
    found.CopyFrom(await statistics.message("iris", "1"))
    (one,) = found.model_stats
    assert (one.name, one.version, one.inference_count) == ("iris", "1", 0)
    assert one.inference_stats.HasField("success")


async def test_who_keeps_none_says_so(statistics: Statistics) -> None:
    for ask in (statistics.document, statistics.message):
        with pytest.raises(NoSuchCall, match="keeps no statistics"):
            await ask("wine", "")
        with pytest.raises(UnknownModel):
            await ask("nobody", "")
        with pytest.raises(UnknownModel, match="no version '7'; it has 1"):
            await ask("iris", "7")


async def test_a_server_that_is_gone_is_said_to_be(
    statistics: Statistics, catalogue: FakeCatalogue
) -> None:
    catalogue.held["iris"] = NOBODY
    for ask in (statistics.document, statistics.message):
        with pytest.raises(NotAvailable, match="did not answer"):
            await ask("iris", "")


async def test_without_servers_all_is_nothing(statistics: Statistics) -> None:
    assert await statistics.all_documents() == {"model_stats": []}
    assert not (await statistics.all_messages()).model_stats
