-- Data listener, REST with a content-encoding. Inflates a small body to see that it becomes nothing large, which the
-- next filter then need not ask about; of any other it says nothing. The body goes on as it came.

-- Of so many bytes inflating takes a worker a millisecond or two; for more, asking costs little beside it.
local MAX_LOOKED_AT = @MAX_LOOKED_AT@

function envoy_on_request(handle)
  local body = handle:body()
  local size = body ~= nil and body:length() or 0
  if size == 0 or size <= MAX_LOOKED_AT
    and inflated(body:getBytes(0, size), handle:headers():get("content-encoding"), 0) ~= nil then
    handle:streamInfo():dynamicMetadata():set("overbook", "small", true)
  end
end
