-- Data listener, the hot path of REST: appended to choose_cluster.lua for requests without a seldon-model header.
-- The mark of a model that is hot in slot 0 only is called like the path that asks for it, so most requests need
-- one look and no closer reading of their path. Calls and strings are what costs here.

local choose = envoy_on_route
local sub = string.sub
local FIRST, LAST = #"/v2/models/" + 1, -#"/infer" - 1

function envoy_on_route(handle)
  local path = handle:headers():get(":path")
  if handle:getCluster(path) ~= nil then
    return "rest/" .. sub(path, FIRST, LAST) .. "/0"
  end
  return choose(handle)
end
