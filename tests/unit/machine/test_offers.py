"""What is said of a server follows from the runtime's data and from its manifest."""

from __future__ import annotations

from pathlib import Path

from overbook.machine.offers import installed_offer
from overbook.machine.scheduler import providers
from overbook.placement import Provider
from overbook.runtimes.install import RuntimeEnvironment


def test_words_of_the_manifest_are_added_once(tmp_path: Path) -> None:
    made = RuntimeEnvironment("mlserver", tmp_path, tmp_path, tmp_path, frozenset({"onnx"}))
    offer = installed_offer(made, ["fraud", "sklearn"])
    assert "fraud" in offer.capabilities
    assert offer.capabilities.count("sklearn") == 1
    assert offer.own_process == {}


def test_packages_are_offered_with_their_versions(tmp_path: Path) -> None:
    for name, version in (("xgboost-cpu", "3.2.0"), ("Scikit_Learn", "1.6.1")):
        folder = tmp_path / "lib" / "python3.11" / "site-packages" / f"{name}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    made = RuntimeEnvironment("triton", tmp_path, tmp_path, tmp_path)
    offer = installed_offer(made, ["python"])
    versions = {"scikit-learn==1.6.1", "xgboost-cpu==3.2.0", "xgboost==3.2.0"}
    assert {each for each in offer.capabilities if "==" in each} == versions
    assert set(offer.own_process) == {"python"}


def test_placement_hears_who_could_provide_what() -> None:
    found = providers()
    assert Provider("sklearn", "mlserver") in found
    assert Provider("lightgbm", "mlserver", "lightgbm") in found
    assert Provider("tensorrt", "triton", attached=True) in found
