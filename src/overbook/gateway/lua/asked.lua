-- Data listener, where tokens are asked for: appended to the script that would choose the cluster, so that only who may
-- use the model comes so far. What is refused goes to a listener that does nothing else: snapshot/refusals.py.

local anybodys = envoy_on_route

function envoy_on_route(handle)
  local headers = handle:headers()
  local patterns, found = granted(headers:get("authorization"))
  if patterns == nil then
    return "no-token"
  elseif patterns ~= true then
    local model, needed = parse_path(headers:get(":path"))
    if model == nil then
      -- Of gRPC. Absent before the message was read, and where it is compressed: then the gateway looks and asks.
      model, needed = headers:get("x-overbook-model"), true
    end
    -- /v2/models/stats is of no model: the gateway shows nobody more of that than their own.
    if model ~= nil and (needed or model ~= "stats") and not may_use(patterns, model) then
      return "not-granted"
    end
  end
  return through(handle, found, anybodys(handle))
end
