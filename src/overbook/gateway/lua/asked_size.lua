-- Data listener, where tokens are asked for: appended to size_rest.lua. Nobody's body is read, here or by the filter
-- behind this one, who has no token.

local look_at_it = envoy_on_request

function envoy_on_request(handle)
  if granted(handle:headers():get("authorization")) == nil then
    handle:respond({ [":status"] = "401", ["www-authenticate"] = "Bearer" }, "@NO_TOKEN@")
  else
    look_at_it(handle)
  end
end
