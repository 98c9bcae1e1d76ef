-- Chooses where a request for a model goes: straight to an inference server that holds the model, or
-- to the cold listener. What is hot is told by marks: clusters whose mere existence is the message, so
-- one change costs Envoy one small cluster, however many models are hot. Names: snapshot/names.py.

local LAST_SLOT = 15

local function protocol_of(headers)
  local content_type = headers:get("content-type")
  if content_type ~= nil and string.sub(content_type, 1, 16) == "application/grpc" then
    return "grpc"
  end
  return "rest"
end

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

function envoy_on_route(handle)
  local headers = handle:headers()
  local model = headers:get("x-overbook-model")
  local protocol = protocol_of(headers)
  if model ~= nil then
    if handle:getCluster("wide/" .. model) ~= nil then
      local best = least_loaded(handle, protocol, model)
      if best ~= nil then
        return best
      end
    elseif handle:getCluster("hot/" .. model .. "/0") ~= nil then
      local name = protocol .. "/" .. model .. "/0"
      if handle:getCluster(name) ~= nil then
        return name
      end
    end
  end
  return "cold-" .. protocol
end
