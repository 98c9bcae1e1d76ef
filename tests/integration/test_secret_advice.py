"""Words in secrets that are rclone's own are taken for no mistyped ones: rclone itself is asked for all of them."""

from __future__ import annotations

import json
import subprocess

from overbook.artifacts.secrets.advice import advice
from overbook.artifacts.secrets.remote import RemoteSecret
from tests.stores.processes import RCLONE


def test_no_word_of_rclones_own_is_taken_for_a_mistyped_one() -> None:
    asked = subprocess.run([RCLONE, "config", "providers"], capture_output=True, check=True)
    kinds = json.loads(asked.stdout)
    assert len(kinds) > 50
    for kind in kinds:
        parameters = {each["Name"]: "" for each in kind["Options"]}
        for name in {kind["Name"], kind["Prefix"], *(kind.get("Aliases") or ())}:
            assert advice(RemoteSecret("mine", "mine", name, parameters)) == []
