"""What Envoy asks (ext_authz) about requests whose model is not hot, or has no mark yet.

Translates a question to a wish and the verdict to an answer. What to do about the wish is `activator`'s; how questions
come in is `questions`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from overbook.gateway.activator import Activator, Wish
from overbook.gateway.oip.surface import unanswerable, unanswerable_rpc
from overbook.gateway.snapshot.names import (
    ATTEMPT_HEADER,
    GRPC_HEADER,
    HOP_HEADER,
    INFER_PATH,
    MISSED_HEADER,
    MODEL_HEADER,
    TOKEN_HEADER,
    Protocol,
)
from overbook.gateway.verdicts import (
    NotServed,
    Refused,
    Verdict,
    grpc_timeout_seconds,
    to_envoy,
)
from overbook.metrics import REFUSED, REQUESTS

# A request that comes back this often is not tried again. It came back because no connection could be made, its model
# was not there, or one of Envoy's workers did not know the place yet: Envoy does not say which. None of that is its
# fault; one that kills the server is not tried as often, since a reset is final where the model was just seen to be
# there.
MAX_HOPS: Final = 12


class ActivationService:
    """``kind_of``: which kind of server has the model, "" where that is not known.

    ``explain``: told (model, attempts) that are not hot requests; ``poke``: there is traffic.

    ``take_back``: told the cluster to which a request was let through, and which it did not find.

    ``gateway``: what this process is called, for inference servers that count what it lets through.
    """

    def __init__(
        self,
        activator: Activator,
        *,
        gateway: str,
        kind_of: Callable[[str], str],
        explain: Callable[[str, int], None],
        poke: Callable[[], None],
        take_back: Callable[[str], None],
    ) -> None:
        self._activator = activator
        self._gateway = gateway
        self._kind_of = kind_of
        self._explain = explain
        self._poke = poke
        self._take_back = take_back

    async def check(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Holds one request until its model is resident; cancelled when the client leaves.

        Returns the answer to Envoy. Raises nothing but cancellation.
        """
        model = headers.get(MODEL_HEADER, "")
        hops = headers.get(HOP_HEADER, "").count("1")
        suspect = headers.get(ATTEMPT_HEADER, "1") != "1"
        grpc_call = GRPC_HEADER in headers
        protocol = Protocol.REST
        if grpc_call:
            # As lua/choose_cluster.lua has it: all but the usual call go to the server's own port.
            protocol = Protocol.GRPC if path == INFER_PATH else Protocol.STREAM
        self._poke()
        if MISSED_HEADER in headers and not suspect:
            self._take_back(headers[MISSED_HEADER])
        if hops >= MAX_HOPS:
            verdict: Verdict = Refused(
                NotServed.UNAVAILABLE,
                f"model {model}: this request came back from the inference server {hops} times",
            )
        elif (refused := self._not_answered(model, method, path, grpc_call)) is not None:
            verdict = refused
        else:
            seconds = grpc_timeout_seconds(headers.get("grpc-timeout", ""))
            verdict = await self._activator.activate(
                Wish(
                    model=model,
                    protocol=protocol,
                    suspect=suspect,
                    seconds=math.inf if seconds is None else seconds,
                    token=headers.get(TOKEN_HEADER, ""),
                )
            )
        self._account(verdict, model, suspect=suspect, hops=hops)
        return to_envoy(verdict, grpc_call=grpc_call, verified=suspect, gateway=self._gateway)

    def _not_answered(self, model: str, method: str, path: str, grpc_call: bool) -> Refused | None:
        """What the model's server could not answer loads nothing."""
        kind = self._kind_of(model)
        found = unanswerable_rpc(kind, path) if grpc_call else unanswerable(kind, method, path)
        if found is None:
            return None
        refusal = NotServed.WRONG_METHOD if found.allow else NotServed.NO_SUCH_CALL
        return Refused(refusal, f"model {model}: {found.reason}", allow=found.allow)

    def _account(self, verdict: Verdict, model: str, *, suspect: bool, hops: int) -> None:
        """Count the request once, by the path it took, and what Envoy counts of it as well.

        A suspect was counted twice where it came from: the try that failed, and the one that led
        here. What was hot after all is left to the meter.
        """
        attempts = 2 if suspect and not hops else int(suspect)
        if isinstance(verdict, Refused):
            REFUSED.labels(verdict.refusal.label).inc()
        elif verdict.asked:
            attempts += 1
            if not hops:
                REQUESTS.labels(model, "fallback" if suspect else "cold").inc()
        if attempts:
            self._explain(model, attempts)
