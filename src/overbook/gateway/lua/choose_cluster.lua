-- Data and inner listener: where a request goes. Straight to an inference server that holds the model,
-- to the cold listener, or (REST) to the gateway's own endpoints when it needs no model.
-- What is hot is told by marks: clusters whose mere existence is the message, so one change costs Envoy
-- one small cluster, however many models are hot. Names: snapshot/names.py.
-- This is the hot path of REST: what is unusual goes to the cold listener, which takes a closer look.

local LAST_SLOT = 15

-- The least loaded of all hot places; equals are chosen by lot.
local function least_loaded(handle, protocol, model)
  local best, best_load, equals = nil, nil, 0
  for slot = 0, LAST_SLOT do
    local place = model .. "/" .. slot
    if handle:getCluster("hot/" .. place) ~= nil then
      local name = protocol .. "/" .. place
      local cluster = handle:getCluster(name)
      if cluster ~= nil then
        local load = cluster:numRequests()
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
  end
  return best
end

-- The cluster of a hot place, nil when the model is not hot.
local function hot_place(handle, protocol, model)
  if handle:getCluster("wide/" .. model) ~= nil then
    return least_loaded(handle, protocol, model)
  end
  local place = model .. "/0"
  if handle:getCluster("hot/" .. place) ~= nil then
    local name = protocol .. "/" .. place
    if handle:getCluster(name) ~= nil then
      return name
    end
  end
  return nil
end

-- Nothing that the cold listener would refuse may take the short way.
local function is_plain(headers, model)
  local header_name = headers:get("seldon-model")
  if header_name ~= nil and header_name ~= model then
    return false
  end
  local length = headers:get("content-length")
  return length == nil or #length < 8 or (tonumber(length) or MAX_BODY + 1) <= MAX_BODY
end

local function rest_cluster(handle, headers, path)
  local model = string.match(path, "^/v2/models/([-a-z0-9]+)/infer$")
  if model == nil then
    local needed
    model, needed = parse_path(path)
    if not needed and (model == nil or is_plain(headers, model)) then
      return "oip-rest"
    end
  end
  return is_plain(headers, model) and hot_place(handle, "rest", model) or "cold-rest"
end

function envoy_on_route(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if string.sub(path, 1, 4) == "/v2/" then
    return rest_cluster(handle, headers, path)
  end
  local model = headers:get("x-overbook-model")
  return model ~= nil and hot_place(handle, "grpc", model) or "cold-grpc"
end
