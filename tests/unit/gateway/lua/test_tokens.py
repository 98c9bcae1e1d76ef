"""The scripts of a gateway that asks for tokens: the same verdicts as in Python, in LuaJIT."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overbook.access.minting import mint
from overbook.access.patterns import matches
from overbook.access.refusals import NO_TOKEN
from overbook.access.roles import Role
from overbook.access.tokens import Token, digest
from overbook.gateway.scripts import read_asking
from overbook.gateway.snapshot.asking import Asking, asking
from overbook.gateway.snapshot.names import (
    CLUSTER_COLD_GRPC,
    CLUSTER_COLD_REST,
    CLUSTER_LARGE_REST,
    CLUSTER_NO_TOKEN,
    CLUSTER_NOT_GRANTED,
    CLUSTER_OIP_GRPC,
    CLUSTER_OIP_REST,
    INFER_PATH,
    MODEL_HEADER,
    Protocol,
    marks,
    place_cluster,
)
from overbook.gateway.snapshot.routes import TOLD_PATHS
from tests.unit.gateway.lua.envoy import Script

KEY: Final = bytes(range(32))
HOT: Final = frozenset(
    (place_cluster(Protocol.REST, "team-a-iris", 0), *marks("team-a-iris", {0: [Protocol.REST]}))
)
ALL, TEAM_A, VIEWER, EXPIRED = "ob_all", "ob_team", "ob_viewer", "ob_old"


def token(text: str, *models: str, role: Role = Role.INFER, expires: float | None = None) -> Token:
    return Token(text, role, models, 0.0, expires, digest(KEY, text))


def scripts(*tokens: Token, now: float = 0.0) -> Asking:
    return asking(read_asking(), KEY, tokens, now)


SCRIPTS: Final = scripts(
    token(ALL),
    token(TEAM_A, "team-a-*", "shared"),
    token(VIEWER, role=Role.VIEWER),
    token(EXPIRED, expires=1.0),
    now=1.0,
)
REST: Final = Script(SCRIPTS.choose_rest)


def route(script: Script, text: str | None, path: str, **headers: str) -> str | None:
    shown = {} if text is None else {"authorization": f"Bearer {text}"}
    return script.route({":path": path, **shown, **headers}, HOT).route


@pytest.mark.parametrize("text", [None, "ob_other", VIEWER, EXPIRED, "x" * 400, ""])
def test_who_has_no_token_that_may_use_models_goes_nowhere(text: str | None) -> None:
    for path in ("/v2/models/team-a-iris/infer", "/v2/models/none", "/v2/models/stats"):
        assert route(REST, text, path) == CLUSTER_NO_TOKEN


def test_a_token_for_all_goes_where_everybody_went() -> None:
    assert route(REST, ALL, "/v2/models/team-a-iris/infer") == "rest/team-a-iris/0"
    assert route(REST, ALL, "/v2/models/other/infer") == CLUSTER_COLD_REST
    assert route(REST, ALL, "/v2/models/other/ready") == CLUSTER_OIP_REST


def test_a_token_for_some_is_refused_for_others_whether_these_are_there_or_not() -> None:
    assert route(REST, TEAM_A, "/v2/models/team-a-iris/infer") == "rest/team-a-iris/0"
    assert route(REST, TEAM_A, "/v2/models/shared/infer") == CLUSTER_COLD_REST
    for path in (
        "/v2/models/team-b/infer",
        "/v2/models/xteam-a-iris/infer",
        "/v2/models/team-b/versions/1/infer",
        "/v2/models/team%2Db/infer",
        "/v2/models/" + "team-a-" * 10_000 + "/infer",
        "/v2/models/team-a-/../team-b/infer?x",
    ):
        expected = CLUSTER_COLD_REST if path.endswith("?x") else CLUSTER_NOT_GRANTED
        assert route(REST, TEAM_A, path) == expected, path


def test_the_escaped_name_of_a_granted_model_is_that_model() -> None:
    assert route(REST, TEAM_A, "/v2/models/team%2Da-iris/infer") == CLUSTER_COLD_REST


def test_what_the_gateway_answers_needs_a_token_as_well() -> None:
    own = Script(SCRIPTS.own)
    grpc = {"content-type": "application/grpc+proto"}
    assert route(own, None, "/v2/repository/index") == CLUSTER_NO_TOKEN
    assert route(own, TEAM_A, "/v2/repository/index") == CLUSTER_OIP_REST
    assert route(own, TEAM_A, "/inference.GRPCInferenceService/X", **grpc) == CLUSTER_OIP_GRPC


def test_paths_that_a_model_defines_need_one_for_the_model_in_the_header() -> None:
    script = Script(SCRIPTS.own_path)
    assert route(script, None, "/own", **{"seldon-model": "shared"}) == CLUSTER_NO_TOKEN
    assert route(script, TEAM_A, "/own", **{"seldon-model": "shared"}) == CLUSTER_COLD_REST
    assert route(script, TEAM_A, "/own", **{"seldon-model": "team-b"}) == CLUSTER_NOT_GRANTED


def message(model: str) -> bytes:
    name = model.encode()
    body = b"\x0a" + bytes([len(name)]) + name
    return b"\0" + struct.pack(">I", len(body)) + body


def test_calls_of_grpc() -> None:
    naming, choosing = Script(SCRIPTS.name_grpc), Script(SCRIPTS.choose_cluster)

    def goes(text: str | None, body: bytes | None) -> str | None:
        shown = {} if text is None else {"authorization": f"Bearer {text}"}
        ran = naming.request(shown, body)
        if ran.refusal is not None:
            assert (ran.refusal.status, ran.refusal.grpc_status) == ("401", "16")
            assert ran.refusal.message == NO_TOKEN
            return "refused"
        named = {MODEL_HEADER: ran.headers[MODEL_HEADER].decode()}
        return route(choosing, text, INFER_PATH, **named)

    # Without one, nothing is read.
    assert goes(None, None) == "refused"
    assert goes(TEAM_A, message("team-a-iris")) == CLUSTER_COLD_GRPC
    assert goes(ALL, message("team-b")) == CLUSTER_COLD_GRPC
    assert goes(TEAM_A, message("team-b")) == CLUSTER_NOT_GRANTED


def test_a_call_of_grpc_that_nobody_named_is_asked_for_again_where_it_is_read() -> None:
    choosing = Script(SCRIPTS.choose_cluster)
    assert route(choosing, None, INFER_PATH) == CLUSTER_NO_TOKEN
    assert route(choosing, TEAM_A, INFER_PATH) == CLUSTER_OIP_GRPC


def test_the_routes_of_the_busiest_only_ask() -> None:
    script = Script(SCRIPTS.busy)
    path = "/v2/models/team-a-iris/infer"
    assert route(script, None, path) == CLUSTER_NO_TOKEN
    assert route(script, VIEWER, path) == CLUSTER_NO_TOKEN
    assert route(script, TEAM_A, path) == route(script, ALL, path) == "own/team-a-iris"
    assert route(script, TEAM_A, "/v2/models/team-b/infer") == CLUSTER_NOT_GRANTED


def test_large_bodies_are_asked_for_a_token_before_they_are_collected() -> None:
    script, own_path = Script(SCRIPTS.large), Script(SCRIPTS.own_path_large)
    path, named = "/v2/models/team-a-iris/infer", {"seldon-model": "shared"}
    assert route(script, None, path) == route(own_path, None, "/own", **named) == CLUSTER_NO_TOKEN
    assert route(script, TEAM_A, path) == CLUSTER_LARGE_REST
    assert route(script, TEAM_A, "/v2/models/team-b/infer") == CLUSTER_NOT_GRANTED
    assert route(own_path, TEAM_A, "/own", **named) == CLUSTER_LARGE_REST
    assert route(own_path, TEAM_A, "/own", **{"seldon-model": "b"}) == CLUSTER_NOT_GRANTED


def test_nobodys_compressed_body_is_inflated_who_has_no_token() -> None:
    script = Script(SCRIPTS.size_rest)
    refused = script.request({"content-encoding": "gzip"}, None)
    assert refused.refusal is not None
    assert (refused.refusal.status, refused.refusal.message) == ("401", NO_TOKEN)
    shown = {"content-encoding": "gzip", "authorization": f"Bearer {TEAM_A}"}
    assert script.request(shown, b"x" * 1_000_000).refusal is None


def test_the_statistics_of_all_models_are_of_none() -> None:
    assert route(REST, TEAM_A, "/v2/models/stats") == CLUSTER_OIP_REST
    assert route(REST, TEAM_A, "/v2/models/stats/infer") == CLUSTER_NOT_GRANTED


@settings(max_examples=30)
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200))
def test_digests_are_the_same_whatever_the_length(text: str) -> None:
    script = Script(scripts(token(text)).own)
    for _ in range(2):
        assert route(script, text, "/v2") == CLUSTER_OIP_REST
    assert route(script, text + "x", "/v2") == CLUSTER_NO_TOKEN
    assert (
        script.route({":path": "/v2", "authorization": f"bEarer  {text} "}, HOT).route
        == CLUSTER_OIP_REST
    )


@given(
    st.lists(st.text("ab.-*", min_size=1, max_size=4), min_size=1, max_size=3)
    .map("".join)
    .filter(lambda text: text.count("*") <= 2),
    st.from_regex(r"[ab][ab.-]{0,6}", fullmatch=True),
)
def test_patterns_match_as_in_python(pattern: str, name: str) -> None:
    script = Script(scripts(token("ob_x", pattern)).own_path)
    granted = route(script, "ob_x", "/own", **{"seldon-model": name}) == CLUSTER_COLD_REST
    assert granted is matches(pattern, name)


def test_ten_thousand_tokens_are_told_apart() -> None:
    texts = [mint() for _ in range(10_000)]
    script = Script(
        scripts(*(token(each, f"m{index}") for index, each in enumerate(texts))).own_path
    )
    for index in (0, 4_321, 9_999):
        path = {"seldon-model": f"m{index}"}
        assert route(script, texts[index], "/own", **path) == CLUSTER_COLD_REST
        assert route(script, texts[index - 1], "/own", **path) == CLUSTER_NOT_GRANTED


def test_neither_key_nor_digest_is_in_what_a_log_might_show() -> None:
    assert KEY.hex() not in repr(SCRIPTS)
    assert digest(KEY, ALL).hex() not in repr(SCRIPTS)


def test_a_use_is_noted_once_in_half_a_minute(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    made = asking(read_asking(), KEY, (token(ALL), token(TEAM_A, "team-a-*")), 0.0, str(notes))
    script = Script(made.choose_rest)
    began = int(time.time())
    for _ in range(5):
        for text in (ALL, TEAM_A, "ob_other", None):
            route(script, text, "/v2/models/team-a-iris/infer")
    # Who may not use this model has shown a token all the same.
    assert route(script, TEAM_A, "/v2/models/team-b/infer") == CLUSTER_NOT_GRANTED
    lines = [each.split() for each in notes.read_text().splitlines()]
    assert [name for name, _ in lines] == [ALL, TEAM_A]
    assert all(began <= int(at) <= time.time() for _, at in lines)


def test_where_it_cannot_be_noted_requests_go_on(tmp_path: Path) -> None:
    made = asking(read_asking(), KEY, (token(ALL),), 0.0, str(tmp_path / "no" / "folder"))
    script = Script(made.choose_rest)
    assert route(script, ALL, "/v2/models/team-a-iris/infer") == "rest/team-a-iris/0"


LIMITED: Final = "ob_limited"
COLD_MODEL: Final = "/v2/models/other/infer"


def limited(
    *clusters: str, rate: int | None = None, waiting: int | None = 3
) -> tuple[Asking, frozenset[str]]:
    """Scripts for a token with these limits, and what is hot and there."""
    made = Token(
        LIMITED, Role.INFER, (), 0.0, None, digest(KEY, LIMITED), rate=rate, waiting=waiting
    )
    return scripts(made, token(ALL)), HOT | frozenset(clusters)


def goes(script: str, there: frozenset[str], text: str, path: str, **headers: str) -> str | None:
    shown = {":path": path, "authorization": f"Bearer {text}", **headers}
    return Script(script).route(shown, there).route


def test_requests_of_a_token_that_may_have_so_many_waiting_say_whose_they_are() -> None:
    mine = [
        f"{each}/{LIMITED}" for each in (CLUSTER_COLD_REST, CLUSTER_COLD_GRPC, CLUSTER_LARGE_REST)
    ]
    made, there = limited(*mine)
    for script in (made.choose_rest, made.choose_cluster, made.busy):
        assert goes(script, there, LIMITED, COLD_MODEL) == mine[0]
        # What is hot goes straight to its server.
        assert goes(script, there, LIMITED, "/v2/models/team-a-iris/infer") == "rest/team-a-iris/0"
    grpc = {MODEL_HEADER: "other"}
    assert goes(made.choose_cluster, there, LIMITED, INFER_PATH, **grpc) == mine[1]
    assert goes(made.large, there, LIMITED, COLD_MODEL) == mine[2]
    of_model = {"seldon-model": "other"}
    assert goes(made.own_path, there, LIMITED, "/own", **of_model) == mine[0]
    assert goes(made.own_path_large, there, LIMITED, "/own", **of_model) == mine[2]
    assert goes(made.choose_rest, there, LIMITED, "/v2/models/other/ready") == CLUSTER_OIP_REST


def test_others_go_where_everybody_goes() -> None:
    made, there = limited(f"{CLUSTER_COLD_REST}/{ALL}")
    assert goes(made.choose_rest, there, ALL, COLD_MODEL) == CLUSTER_COLD_REST
    assert goes(made.busy, there, ALL, COLD_MODEL) == "own/other"
    # A cluster that Envoy does not know yet, or any more.
    assert goes(made.choose_rest, there, LIMITED, COLD_MODEL) == CLUSTER_COLD_REST


def test_whose_request_it_is_where_so_many_are_allowed_per_second() -> None:
    made, _ = limited(rate=50, waiting=None)
    assert made.rates == ((LIMITED, 50),)
    assert made.waiting == ()
    script = Script(made.whose)
    for text, told in (
        (LIMITED, {("overbook", "token"): LIMITED, ("overbook", "rate"): "50"}),
        (ALL, {}),
        ("x", {}),
    ):
        ran = script.request({":path": "/v2", "authorization": f"Bearer {text}"}, None)
        found = {
            key: each.decode() if isinstance(each, bytes) else each
            for key, each in ran.metadata.items()
        }
        assert found == told
        assert ran.refusal is None


# What may stand in a path, so that cases are near those that count.
PIECES: Final = st.sampled_from(
    [
        *("/", "//", "x", "versions", "1", "ready", "config", "stats", "trace", "setting", "infer"),
        *("%2f", "trace/setting", "own", "."),
    ]
)


@given(st.lists(PIECES, max_size=8).map("".join))
@settings(max_examples=500, deadline=None)
@example("/ready")
@example("x//ready")
@example("x/versions/1/ready/")
def test_what_comes_with_its_token_is_never_the_models(rest: str) -> None:
    """As the route lets the token through, the script must not lead it to a model."""
    path = f"/v2/models/{rest}"
    goes_there = route(REST, ALL, path) == CLUSTER_OIP_REST
    if re.fullmatch(TOLD_PATHS, path):
        assert goes_there, path
