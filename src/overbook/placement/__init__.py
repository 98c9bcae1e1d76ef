"""Which server replicas a model is assigned to, and why. Pure: values in, a verdict out.

Filters say who may take a model, scores say who should, and the verdict keeps every answer with its
numbers. Nothing here knows a clock, a store, a socket, or how the scheduler keeps its books.
"""

from overbook.placement.filters import Rule, Unfit
from overbook.placement.place import place
from overbook.placement.verdict import Decision, Verdict
from overbook.placement.views import ModelDemand, Provider, ReplicaId, ReplicaView, Unseen

__all__ = [
    "Decision",
    "ModelDemand",
    "Provider",
    "ReplicaId",
    "ReplicaView",
    "Rule",
    "Unfit",
    "Unseen",
    "Verdict",
    "place",
]
