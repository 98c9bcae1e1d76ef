-- Data and inner listener: where a request goes. Straight to an inference server that holds the model,
-- to the cold listener, or (REST) to the gateway's own endpoints when it needs no model.
-- What is hot is told by marks: clusters whose mere existence is the message, so one change costs Envoy
-- one small cluster, however many models are hot. Names: snapshot/names.py.
-- What is unusual goes to the cold listener, which takes a closer look.
-- Nothing is remembered between requests: the more a Lua state holds, the more garbage it lets pile up before it
-- collects, and that drives what Envoy needs for the next request out of the processor's caches.

local LAST_SLOT = @LAST_SLOT@
local INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"

-- The least loaded of all hot places; equals are chosen by lot.
local function least_loaded(handle, protocol, model)
  local best, best_load, equals = nil, nil, 0
  for slot = 0, LAST_SLOT do
    local name = protocol .. "/" .. model .. "/" .. slot
    if handle:getCluster("hot/" .. name) ~= nil then
      local cluster = handle:getCluster(name)
      local load = cluster ~= nil and cluster:numRequests() or math.huge
      if best == nil or load < best_load then
        best, best_load, equals = name, load, 1
      elseif load == best_load then
        equals = equals + 1
        if math.random(equals) == 1 then
          best = name
        end
      end
    end
  end
  return best
end

-- The cluster of a place, nil when the model is not hot. `mark`: what tells that slot 0 is the only one.
local function hot_place(handle, protocol, model, mark)
  if handle:getCluster(mark) ~= nil then
    return protocol .. "/" .. model .. "/0"
  elseif handle:getCluster("wide/" .. model) ~= nil then
    return least_loaded(handle, protocol, model)
  end
  return nil
end

-- The cold listener refuses a header that names another model, and a path that could become that of another: nothing of
-- that may take the short way. It also writes a name that is percent-encoded as it is: not every server decodes it.
local function rest_cluster(handle, headers, path)
  local model, needed, plain = parse_path(path)
  local header_name = headers:get("seldon-model")
  if header_name ~= nil and model ~= nil and header_name ~= model then
    return "cold-rest"
  elseif not needed then
    return "oip-rest"
  elseif not plain or crooked(path) then
    return "cold-rest"
  end
  return hot_place(handle, "rest", model, "/v2/models/" .. model .. "/infer") or "cold-rest"
end

function envoy_on_route(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if string.sub(path, 1, 4) == "/v2/" then
    return rest_cluster(handle, headers, path)
  end
  local model = headers:get("x-overbook-model")
  if model == nil then
    -- The message is compressed: the gateway looks for the name in it.
    return "oip-grpc"
  end
  local protocol = path == INFER_PATH and "grpc" or "stream"
  return hot_place(handle, protocol, model, "one/" .. protocol .. "/" .. model) or "cold-grpc"
end
