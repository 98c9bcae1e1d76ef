"""How large a request may be: the one place of the sizes that Envoy, its Lua scripts, the gateway and clients share.

What the scripts need of it `gateway/snapshot/names.py` writes into their text, together with the longest name that a
model may have (`MAX_NAME` in `manifests/names.py`), so that all refuse the same. Pure numbers, in bytes where nothing
else is said.
"""

from __future__ import annotations

from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

# Of a request that an inference server answers: 64 MB of tensors, with room for the JSON around them.
MAX_BODY: Final = 80 * _MIB
# A body over REST from this on takes Envoy's listener for large ones, which is closed first where its memory runs out.
LARGE_BODY: Final = 256 * _KIB
# Of one message of gRPC, whether alone or in a stream: a body less gRPC's own five bytes before it.
MAX_MESSAGE: Final = MAX_BODY - 5
# Of a request that the gateway answers itself: its body holds an option or two.
MAX_OWN_BODY: Final = 64 * _KIB
# Of a request's path and headers: as Envoy has it where nothing is said.
MAX_HEAD: Final = 60 * _KIB
# How many headers a request may have.
MAX_HEADERS: Final = 100
# Of a question about a request: a part of its head, and what Envoy adds.
MAX_QUESTION: Final = MAX_HEAD + 4 * _KIB
# Of a compressed message of gRPC that Envoy's script inflates by itself; larger ones go by way of the gateway.
MAX_INFLATED: Final = 4 * _MIB
# Of a compressed body over REST that Envoy's script inflates to see how large it becomes; the gateway is asked about
# larger ones.
MAX_LOOKED_AT: Final = 64 * _KIB
# Fields in a message that is looked through for the model's name: real ones have tens. A million tiny ones would stop
# everything else in the gateway for a second.
MAX_FIELDS: Final = 65_536
# Characters that an error message shows of a name, which may be as long as the message that it comes from.
# Every name that a model can have is shown whole.
MAX_SHOWN: Final = 254
