"""Whose series on Triton's page count, from a load to an unload, whatever Triton keeps of a model beyond that."""

from __future__ import annotations

import pytest

from overbook.agent.servers.protocol import Exposition, ServerUnreachable
from overbook.agent.servers.triton.measured import Measured

PAGE = b'# TYPE n counter\nn{model="a",v="1"} 1\nn{model="aa"} 2\nn{x="y"} 3\n'


class Triton:
    """A page, and what was told of it."""

    def __init__(self) -> None:
        self.page = PAGE
        self.whole = True
        self.fails = False
        self.looks = 0
        self.told: list[tuple[str, str, bytes]] = []

    async def look(self, *, most: int, timeout: float) -> tuple[bytes, bool]:
        self.looks += 1
        if self.fails:
            raise ServerUnreachable("it hangs")
        return self.page[:most], self.whole

    def began(self, model: str, exposition: Exposition) -> None:
        assert exposition.loaded == {model}
        self.told.append(("began", model, exposition.shared))

    def ended(self, model: str, exposition: Exposition) -> None:
        assert exposition.loaded == {model}
        self.told.append(("ended", model, exposition.shared))


@pytest.fixture
def triton() -> Triton:
    return Triton()


@pytest.fixture
def measured(triton: Triton) -> Measured:
    return Measured(triton.look, triton)


OF_A = b'# TYPE n counter\nn{model="a",v="1"} 1'


async def test_a_model_counts_from_its_load_to_its_unload(
    measured: Measured, triton: Triton
) -> None:
    await measured.begin("a")
    assert (triton.looks, triton.told) == (0, [])
    shown = await measured.page(timeout=1)
    assert shown.shared == PAGE
    assert shown.loaded == shown.known == frozenset("a")
    await measured.begin("a")
    await measured.end("a")
    assert triton.told == [("ended", "a", OF_A)]
    shown = await measured.page(timeout=1)
    assert (shown.loaded, shown.known) == (frozenset(), frozenset("a"))
    assert shown.dropped == {}
    await measured.end("a")
    await measured.begin("a")
    assert triton.told[1:] == [("began", "a", OF_A)]


async def test_of_another_process_nothing_is_known(measured: Measured, triton: Triton) -> None:
    await measured.begin("a")
    measured.clear()
    await measured.begin("a")
    assert (triton.looks, triton.told) == (0, [])


async def test_a_server_that_does_not_answer_holds_up_no_unload(
    measured: Measured, triton: Triton
) -> None:
    await measured.begin("a")
    triton.fails = True
    await measured.end("a")
    assert triton.told == [("ended", "a", b"")]
    with pytest.raises(ServerUnreachable):
        await measured.page(timeout=1)


async def test_half_a_line_is_none(measured: Measured, triton: Triton) -> None:
    triton.page, triton.whole = PAGE[:-3], False
    shown = await measured.page(timeout=1)
    assert shown.shared == b'# TYPE n counter\nn{model="a",v="1"} 1\nn{model="aa"} 2\n'
    assert shown.dropped == {"": {"flood": 1}}
