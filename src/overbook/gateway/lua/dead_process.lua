-- Upstream, only towards servers whose models have processes of their own: Triton answers requests that met a dead
-- one with 500, as it answers for models that raise, and the text alone tells. The request was lost with the process,
-- as with a server that dies, and so it is sent once more: 421 is what the retry policy knows it by.
-- Not where nothing more would be tried, as after a second attempt: there the client gets what the server said.

local LONGEST = 300
local SPACE = "overbook"

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("x-overbook-verified") ~= nil or headers:get("x-envoy-attempt-count") ~= "1" then
    handle:streamInfo():dynamicMetadata():set(SPACE, "final", true)
  end
end

function envoy_on_response(handle)
  if handle:headers():get(":status") ~= "500" then
    return
  end
  local said = handle:streamInfo():dynamicMetadata():get(SPACE)
  if said ~= nil and said["final"] then
    return
  end
  local body = handle:body()
  if body == nil or body:length() > LONGEST then
    return
  end
  local text = body:getBytes(0, body:length())
  if string.find(text, "^{\"error\":\"Stub process [^\"]*is not healthy%.\"}%s*$") then
    handle:headers():replace(":status", "421")
  end
end
