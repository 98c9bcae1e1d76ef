"""The life of a model on one server replica, as data.

Law: a model changes state only along TRANSITIONS; a step that is not listed for its state is a bug of the
caller, raises `IllegalStep` and changes nothing. The ledger charges a model in exactly the states of CHARGED.

``RELOADING`` is a resident model (its old copy serves) whose new copy is being loaded beside it; to people it is
shown as resident.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    # Members are singletons. Enum's own hash is a Python function, and tables are looked up at every step.
    __hash__ = object.__hash__

    COLD = "cold"
    LOADING = "loading"
    RESIDENT = "resident"
    RELOADING = "reloading"
    DRAINING = "draining"
    UNLOADING = "unloading"
    FAILED = "failed"


class Step(Enum):
    __hash__ = object.__hash__

    BEGIN_LOAD = "begin load"
    LOADED = "loaded"
    LOAD_FAILED = "load failed"
    BEGIN_RELOAD = "begin reload"
    RELOADED = "reloaded"
    RELOAD_FAILED = "reload failed"
    BEGIN_DRAIN = "begin drain"
    RESCUE = "rescue"
    BEGIN_UNLOAD = "begin unload"
    UNLOADED = "unloaded"
    VANISHED = "vanished"  # the server does not have it, although it said so
    LOST = "lost"  # the whole server is gone
    REFUSE = "refuse"  # can never fit
    HOLD = "held back"  # not to be loaded again as it is
    RESET = "reset"  # spec or artifact changed: forget the failure


TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    State.COLD: {
        Step.BEGIN_LOAD: State.LOADING,
        Step.LOST: State.COLD,
        Step.REFUSE: State.FAILED,
        Step.HOLD: State.FAILED,
        Step.RESET: State.COLD,
    },
    State.LOADING: {
        Step.LOADED: State.RESIDENT,
        Step.LOAD_FAILED: State.FAILED,
        Step.LOST: State.COLD,
    },
    State.RESIDENT: {
        Step.BEGIN_RELOAD: State.RELOADING,
        Step.BEGIN_DRAIN: State.DRAINING,
        Step.VANISHED: State.COLD,
        Step.LOST: State.COLD,
    },
    State.RELOADING: {
        Step.RELOADED: State.RESIDENT,
        Step.RELOAD_FAILED: State.RESIDENT,
        Step.LOST: State.COLD,
    },
    State.DRAINING: {
        Step.RESCUE: State.RESIDENT,
        Step.BEGIN_UNLOAD: State.UNLOADING,
        Step.LOST: State.COLD,
    },
    State.UNLOADING: {Step.UNLOADED: State.COLD, Step.LOST: State.COLD},
    State.FAILED: {
        Step.BEGIN_LOAD: State.LOADING,
        Step.RESET: State.COLD,
        Step.LOST: State.FAILED,
        Step.REFUSE: State.FAILED,
    },
}

CHARGED: Final = frozenset(
    {State.LOADING, State.RESIDENT, State.RELOADING, State.DRAINING, State.UNLOADING}
)
SERVING: Final = frozenset({State.RESIDENT, State.RELOADING})


class IllegalStep(Exception):
    """The caller broke the contract of the core; nothing was changed."""


def next_state(state: State, step: Step) -> State:
    """The state after ``step``. Raises IllegalStep."""
    try:
        return TRANSITIONS[state][step]
    except KeyError:
        raise IllegalStep(f"a model that is {state.value} cannot be {step.value}") from None
