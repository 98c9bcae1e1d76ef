-- Data listener, where tokens are asked for: a path that a model defines for itself. The header names the model. Appended
-- to the script that says where such requests go.

local anybodys = envoy_on_route

function envoy_on_route(handle)
  local headers = handle:headers()
  local patterns, found = granted(headers:get("authorization"))
  if patterns == nil then
    return "no-token"
  elseif not may_use(patterns, headers:get("seldon-model") or "") then
    return "not-granted"
  end
  return through(handle, found, anybodys(handle))
end
