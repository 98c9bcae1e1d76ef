-- Data listener, where tokens are asked for: appended to name_grpc.lua. Nobody's message is waited for who has no token;
-- whether theirs is for the model is asked once it has a name, where the cluster is chosen (asked.lua).

local UNAUTHENTICATED = "16"
local name_it = envoy_on_request

function envoy_on_request(handle)
  if granted(handle:headers():get("authorization")) == nil then
    handle:respond({ [":status"] = "401", ["grpc-status"] = UNAUTHENTICATED }, "@NO_TOKEN@")
  else
    name_it(handle)
  end
end
