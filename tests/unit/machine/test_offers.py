"""What is said of a server follows from the runtime's data and from its manifest."""

from __future__ import annotations

from overbook.machine.offers import installed_offer
from overbook.machine.scheduler import providers
from overbook.placement import Provider


def test_words_of_the_manifest_are_added_once() -> None:
    offer = installed_offer("mlserver", ["fraud", "sklearn"])
    assert "fraud" in offer.capabilities
    assert offer.capabilities.count("sklearn") == 1
    assert offer.own_process == {}


def test_placement_hears_who_could_provide_what() -> None:
    found = providers()
    assert Provider("sklearn", "mlserver") in found
    assert Provider("lightgbm", "mlserver", "lightgbm") in found
    assert Provider("tensorrt", "triton", attached=True) in found
