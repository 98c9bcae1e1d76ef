-- Data listener, where tokens are asked for: the routes of the busiest models, which lead to a cluster of the model's
-- own whether it is hot or not (own_routes.py). So there is nothing to look for, and this script only asks. Of a token that
-- may have so many waiting it has to be told whose request it is where the model is not hot.

local anybodys = envoy_on_route

function envoy_on_route(handle)
  local headers = handle:headers()
  local patterns, found = granted(headers:get("authorization"))
  if patterns == nil then
    return "no-token"
  end
  local model = string.sub(headers:get(":path"), FIRST, LAST)
  if patterns ~= true and not may_use(patterns, model) then
    return "not-granted"
  end
  if found.waiting ~= nil then
    return through(handle, found, anybodys(handle))
  end
  return "own/" .. model
end
