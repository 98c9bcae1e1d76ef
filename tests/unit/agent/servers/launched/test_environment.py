"""Which variables a server gets: none that is not known to be harmless or named by the owner."""

from __future__ import annotations

import pytest

from overbook.agent.servers.launched.environment import server_environment


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MALLOC_CONF"),
        *("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL", "HF_HOME", "TOKENIZERS_PARALLELISM"),
    ],
)
def test_what_says_how_to_run_is_passed_on(name: str) -> None:
    assert server_environment({name: "x"}) == {name: "x"}


@pytest.mark.parametrize(
    "name",
    [
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS"),
        *("OVERBOOK_TOKEN", "OVERBOOK_SECRET_STORE", "OVERBOOK_SERVER_VARIABLES", "SSH_AUTH_SOCK"),
        *("HF_TOKEN", "HF_HUB_TOKEN", "NVIDIA_API_KEY", "TF_VAR_db_password", "TORCH_ACCESS_KEY"),
        *("http_proxy", "DATABASE_URL", "ANYTHING"),
        # What would steer the interpreter or the server.
        *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "MLSERVER_DEBUG", "TRITON_X"),
    ],
)
def test_nothing_else_is(name: str) -> None:
    assert server_environment({name: "x"}) == {}


def test_the_owner_names_more() -> None:
    inherited = {
        "OVERBOOK_SERVER_VARIABLES": "ONE, HF_TOKEN,TEAM_*,*",
        "ONE": "1",
        "HF_TOKEN": "2",
        "TEAM_A": "3",
        "OTHER": "4",
    }
    assert server_environment(inherited) == {"ONE": "1", "HF_TOKEN": "2", "TEAM_A": "3"}
