-- Data listener, where tokens are asked for and one of them may make so many requests per second: tells the filter behind
-- this one whose request it is (snapshot/token_rates.py).

function envoy_on_request(handle)
  local _, found = granted(handle:headers():get("authorization"))
  if found ~= nil and found.rate ~= nil then
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set("overbook", "token", found.name)
    metadata:set("overbook", "rate", tostring(found.rate))
  end
end
