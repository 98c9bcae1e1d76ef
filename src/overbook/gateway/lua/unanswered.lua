-- Upstream, only towards endpoints that do not mark such answers themselves: marks what no model answered, which the
-- retry policy knows by the mark. Inference servers say with the same status, and over gRPC with the same code, that a
-- model is not there and that a model said so; their words alone tell. A model's process that died (Triton) took the
-- request with it.

local MARK = "x-overbook-unanswered"
local LONGEST = 600
-- The model that was asked for: the cluster of each place has its own here, see snapshot/clusters.py.
local ASKED = ".............................................................................................................................................................................................................................................................."
-- What comes before and after the name of the model that was asked for: of any other, the model itself has spoken.
local WORDS = {
  -- Triton
  { "^Request for unknown model: '", "' is not found$" },
  { "^Request for unknown model: '", "' has no available versions$" },
  { "^Request for unknown model: '", "' version %d+ is not found$" },
  { "^Request for unknown model: '", "' version %d+ is not at ready state$" },
  { "^Stub process '", "_%d+_%d+' is not healthy%.$" },
  -- MLServer
  { "^Model ", " not found$" },
  { "^Model ", " with version %S+ not found$" },
}
-- Others are answers, whatever they say.
local STATUSES = { ["404"] = true, ["500"] = true, ["503"] = true }

local function is_known(text)
  local name = string.gsub(string.match(ASKED, "^%S*"), "%W", "%%%0")
  for _, words in ipairs(WORDS) do
    if string.find(text, words[1] .. name .. words[2]) then
      return true
    end
  end
  return false
end

local function said(handle)
  local headers = handle:headers()
  local code = headers:get("grpc-status")
  if code ~= nil then
    return code ~= "0" and headers:get("grpc-message") or nil
  end
  local length = headers:get("content-length")
  if not STATUSES[headers:get(":status")] or length == nil or tonumber(length) > LONGEST then
    return nil
  end
  local body = handle:body()
  return body and string.match(body:getBytes(0, body:length()), "^{\"error\":%s*\"(.*)\"}%s*$")
end

function envoy_on_response(handle)
  handle:headers():remove(MARK)
  local text = said(handle)
  if text == nil then
    return
  end
  if is_known(text) then
    -- Not the headers from before: waiting for the body made them invalid.
    handle:headers():add(MARK, "1")
  end
end
