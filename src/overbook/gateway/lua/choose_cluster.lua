-- Data and inner listener: where a request goes. Straight to an inference server that holds the model,
-- to the cold listener, or (REST) to the gateway's own endpoints when it needs no model.
-- What is hot is told by marks: clusters whose mere existence is the message, so one change costs Envoy
-- one small cluster, however many models are hot. Names: snapshot/names.py.
-- This is the hot path of REST: what is unusual goes to the cold listener, which takes a closer look.

local LAST_SLOT = 15
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

-- The cluster of a place, given the target of a request; nil when the model is not hot.
local function hot_place(handle, target)
  if handle:getCluster(target.mark) ~= nil then
    return target.only
  elseif handle:getCluster(target.wide) ~= nil then
    return least_loaded(handle, target.protocol, target.model)
  end
  return nil
end

local function target_of(protocol, model, needed)
  return {
    protocol = protocol,
    model = model,
    needed = needed,
    mark = model and "one/" .. protocol .. "/" .. model,
    wide = model and "wide/" .. model,
    only = model and protocol .. "/" .. model .. "/0",
  }
end

-- What was made of the last paths and names: strings are the dear part of this script. Started afresh
-- when full, and nothing long is kept, since paths come from clients.
local MOST_TARGETS = 4096
local LONGEST_KEY = 256
local targets, count = {}, 0

local function remembered(key, target)
  if #key > LONGEST_KEY then
    return target
  end
  if count >= MOST_TARGETS then
    targets, count = {}, 0
  end
  targets[key] = target
  count = count + 1
  return target
end

-- The cold listener refuses a header that names another model: nothing of that may take the short way.
local function rest_cluster(handle, headers, target)
  local header_name = headers:get("seldon-model")
  if header_name ~= nil and target.model ~= nil and header_name ~= target.model then
    return "cold-rest"
  elseif not target.needed then
    return "oip-rest"
  end
  return hot_place(handle, target) or "cold-rest"
end

function envoy_on_route(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local target = targets[path]
  if target ~= nil then
    return rest_cluster(handle, headers, target)
  elseif string.sub(path, 1, 4) == "/v2/" then
    return rest_cluster(handle, headers, remembered(path, target_of("rest", parse_path(path))))
  end
  local model = headers:get("x-overbook-model")
  if model == nil then
    return "cold-grpc"
  end
  -- Neither key can be taken for a path, which begins with a slash.
  if path == INFER_PATH then
    target = targets[model] or remembered(model, target_of("grpc", model, true))
  else
    local key = "stream/" .. model
    target = targets[key] or remembered(key, target_of("stream", model, true))
  end
  return hot_place(handle, target) or "cold-grpc"
end
