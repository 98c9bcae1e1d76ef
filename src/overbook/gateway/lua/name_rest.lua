-- Cold listener. Prepares what the activation service is asked: writes the model of a REST request's path to
-- x-overbook-model, or refuses the request, and tells calls of gRPC from others.
-- The path is the truth, because the inference server acts on it: a seldon-model header that names
-- another model is refused, never believed. A path that a model defines for itself need not name the model: then the
-- header does. A gRPC request has its (trusted) header already.
-- A name that is percent-encoded in the path is written as it is: not every inference server decodes it.
-- Replies are plain text here; the connection manager turns them into JSON.

local function refuse(handle, status, message)
  handle:respond({ [":status"] = status }, message)
end

-- Whether an inference server could take the path for one of the protocol's, which it decodes before it looks, as a proxy
-- before it may have done, too.
local function is_protocols(path)
  local bare = percent_decode(percent_decode(string.match(path, "^[^?#]*")))
  local first = string.match(bare, "^/([^/]*)")
  return first == nil or first == "v2"
end

function envoy_on_request(handle)
  local headers = handle:headers()
  -- From an earlier try, which failed: where to go is to be asked anew.
  local missed = headers:get("x-overbook-cluster")
  if missed ~= nil then
    headers:remove("x-overbook-cluster")
    headers:remove("x-overbook-grant")
    headers:replace("x-overbook-missed", missed)
  else
    headers:remove("x-overbook-missed")
  end
  local content_type = headers:get("content-type")
  if content_type ~= nil and string.sub(content_type, 1, 16) == "application/grpc" then
    headers:replace("x-overbook-grpc", "1")
    return
  end
  local path = headers:get(":path") or ""
  local name, _, plain = parse_path(path)
  local header_name = headers:get("seldon-model")
  if name == nil and not is_protocols(path) then
    name = header_name
  end
  local length = tonumber(headers:get("content-length") or "0")
  if name == nil then
    refuse(handle, "404", "path: names no model; expected /v2/models/NAME/...")
  elseif header_name ~= nil and header_name ~= name then
    refuse(handle, "400", "seldon-model: header names " .. shown(header_name) .. ", the path names "
      .. shown(name) .. "; expected the same model in both")
  elseif not valid_name(name) then
    refuse(handle, "404", "model " .. shown(name) .. ": not found")
  elseif crooked(path) then
    refuse(handle, "404", CROOKED)
  elseif length ~= nil and length > MAX_BODY then
    refuse(handle, "413", "request body: " .. length .. " bytes, at most " .. MAX_BODY .. " are accepted")
  else
    headers:replace("x-overbook-model", name)
    if not plain then
      headers:replace(":path", "/v2/models/" .. name .. string.match(path, "^/v2/models/[^/?#]+(.*)$"))
    end
  end
end
