-- Data listener, where tokens are asked for: what the gateway itself answers, which needs a token as well. What it may
-- see is for the gateway to say (oip/callers.py).

function envoy_on_route(handle)
  local headers = handle:headers()
  if granted(headers:get("authorization")) == nil then
    return "no-token"
  elseif string.sub(headers:get("content-type") or "", 1, 16) == "application/grpc" then
    return "oip-grpc"
  end
  return "oip-rest"
end
