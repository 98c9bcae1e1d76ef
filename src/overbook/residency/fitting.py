"""Law 2: what is larger than the whole budget is refused, unless an older content stands in for it; and what a new
budget changes about that. Moves only; who calls them, and when, is in `core`.
"""

from __future__ import annotations

from overbook.residency.allocation import newest_has_no_room, no_room_reason
from overbook.residency.books import Books, Entry
from overbook.residency.effects import Cause, Refusal
from overbook.residency.events import ModelName
from overbook.residency.sizes import in_words
from overbook.residency.states import State, Step


def refused(books: Books, entry: Entry) -> bool:
    """Whether the newest content of a cold or failed model is larger than the budget; then its requests end, and it
    fails until size or budget changes. Where an older one stands in, only the reason is kept.
    """
    if entry.size <= books.ledger.budget:
        return False
    if books.fallback(entry) is not None:
        entry.reason = newest_has_no_room(books, entry)
        books.unfit[entry.model] = None
        return True
    books.reject_all(entry, Refusal.NO_ROOM, no_room_reason(books, entry), 0.0)
    books.warm.drop(entry.model)
    books.step(entry, Step.REFUSE)
    books.refused[entry.model] = None
    entry.reason = no_room_reason(books, entry)
    return True


def deadline_reason(books: Books, model: ModelName) -> str:
    """What is told to a request that waited for room as long as it may."""
    entry = books.entries[model]
    return (
        f"model '{model}' ({in_words(books.size_to_load(entry))}) did not become resident in time: "
        f"it is {entry.state.value}, {in_words(books.ledger.total)} of {in_words(books.ledger.budget)} are in use"
    )


def budget_changed(books: Books, budget: int) -> None:
    """The surplus is evicted by `allocation`; here is who may come again, and who cannot any more."""
    books.filling = books.filling or budget > books.ledger.budget
    books.ledger.budget = budget
    books.changed = True
    books.deficit = Cause.BUDGET
    books.reconsider_unfit()
    for model in tuple(books.refused):
        entry = books.entries[model]
        if entry.size <= budget:
            books.step(entry, Step.RESET)
            del books.refused[model]
            entry.reason = entry.failure  # its backoff goes on
            books.warm_up(entry)
        else:
            entry.reason = no_room_reason(books, entry)
    for entry in books.larger_than(budget):
        if entry.state is State.COLD:
            refused(books, entry)
