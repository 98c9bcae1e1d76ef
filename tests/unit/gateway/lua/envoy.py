"""Runs a Lua script in LuaJIT, as Envoy does, over a request that a test made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lupa.luajit21 import LuaRuntime

# What Envoy hands to a script, as far as ours use it. A buffer is as strict as Envoy's, and nothing may be global but
# the functions that Envoy calls.
_ENVOY: Final = b"""
setmetatable(_G, {
  __index = function(_, name) error("nothing is called " .. name) end,
  __newindex = function(_, name) error("global: " .. name) end,
})
return function(entry, headers, body, is_cluster)
  local refusal, asked, metadata = nil, {}, {}
  local buffer = {
    length = function() return #body end,
    getBytes = function(_, at, length)
      assert(at >= 0 and length >= 0 and at + length <= #body, "outside of the buffer")
      return string.sub(body, at + 1, at + length)
    end,
  }
  local map = {
    get = function(_, name) return headers[name] end,
    replace = function(_, name, value) headers[name] = value end,
    remove = function(_, name) headers[name] = nil end,
  }
  local handle = {
    headers = function() return map end,
    body = function() return body and buffer end,
    respond = function(_, with, message)
      refusal = { with[":status"], with["grpc-status"] or "", message }
    end,
    streamInfo = function()
      return {
        dynamicMetadata = function()
          return {
            set = function(_, namespace, key, value)
              metadata[#metadata + 1] = { namespace, key, value }
            end,
          }
        end,
      }
    end,
    getCluster = function(_, name)
      asked[#asked + 1] = name
      if is_cluster(name) then
        return { numRequests = function() return 0 end }
      end
    end,
  }
  return _G[entry](handle), headers, refusal, asked, metadata
end
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """``grpc_status``: "" over REST."""

    status: str
    grpc_status: str
    message: str


@dataclass(frozen=True, slots=True)
class Ran:
    """``headers``: of the request, afterwards. ``route``: the cluster that the script chose, where it chooses one.
    ``asked``: the clusters that it looked for. ``metadata``: what it told the filters behind it, by namespace and key.
    """

    headers: Mapping[str, bytes]
    refusal: Refusal | None
    route: str | None
    asked: tuple[str, ...]
    metadata: Mapping[tuple[str, str], object]


class Script:
    """One script, compiled once, as in each of Envoy's threads."""

    def __init__(self, text: str) -> None:
        self._lua = LuaRuntime(encoding=None)
        self._lua.execute(text.encode())
        self._run = self._lua.execute(_ENVOY)

    def request(self, headers: Mapping[str, str], body: bytes | None = None) -> Ran:
        """Runs it as a filter."""
        return self._call(b"envoy_on_request", headers, body, frozenset())

    def route(self, headers: Mapping[str, str], clusters: frozenset[str]) -> Ran:
        """Runs it as what chooses a request's cluster, while these are known."""
        return self._call(b"envoy_on_route", headers, None, clusters)

    def _call(
        self,
        entry: bytes,
        headers: Mapping[str, str],
        body: bytes | None,
        clusters: frozenset[str],
    ) -> Ran:
        table = self._lua.table_from(
            {name.encode(): value.encode() for name, value in headers.items()}
        )
        route, after, refusal, asked, metadata = self._run(
            entry, table, body, lambda name: name.decode() in clusters
        )
        return Ran(
            headers={name.decode(): value for name, value in after.items()},
            refusal=refusal and Refusal(*(each.decode() for each in refusal.values())),
            route=route and route.decode(),
            asked=tuple(name.decode() for name in asked.values()),
            metadata={(each[1].decode(), each[2].decode()): each[3] for each in metadata.values()},
        )
