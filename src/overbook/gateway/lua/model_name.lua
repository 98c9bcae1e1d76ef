-- Finds the model that a request is for and writes it to x-overbook-model. What the inference server
-- acts on is the truth: the path over REST, the message over gRPC. A seldon-model header that names
-- another model is refused, never believed. Requests that need no model pass without the header.
-- Replies are plain text here; the connection manager turns them into JSON, or into grpc-message.

local INTERNAL = { "x-overbook-model", "x-overbook-cluster", "x-overbook-hop", "x-overbook-verified" }
local MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
local MAX_BODY = 80 * 1024 * 1024
local MAX_FIELDS = 100000
local WINDOW = 512

local function refuse_rest(handle, status, message)
  handle:respond({ [":status"] = status }, message)
end

-- The HTTP status is what a proxy on the way would see; clients look at grpc-status.
local function refuse_grpc(handle, grpc_status, message)
  handle:respond({ [":status"] = "400", ["grpc-status"] = grpc_status }, message)
end

local function valid(name)
  return #name <= 63 and string.find(name, "^[a-z0-9][-a-z0-9]*$") ~= nil and string.sub(name, -1) ~= "-"
end

local function decode(text)
  return (string.gsub(text, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- For error messages: never longer than a name may be, never with control characters.
local function shown(text)
  return (string.gsub(string.sub(text, 1, 80), "[%c\128-\255]", "?"))
end

-- A cursor over the bytes of a buffer that copies a window at a time, never the whole body.
local function reader(buffer, size)
  local window, first, last = "", 0, 0
  local self = {}
  function self.byte(at)
    if at >= size then
      return nil
    end
    if at < first or at >= last then
      first = at
      last = math.min(at + WINDOW, size)
      window = buffer:getBytes(first, last - first)
    end
    return string.byte(window, at - first + 1)
  end
  function self.text(at, length)
    if at + length > size then
      return nil
    end
    if length == 0 then
      return ""
    end
    return buffer:getBytes(at, length)
  end
  function self.varint(at)
    local value, scale = 0, 1
    for _ = 1, 10 do
      local byte = self.byte(at)
      if byte == nil then
        return nil, at
      end
      at = at + 1
      value = value + (byte % 128) * scale
      if byte < 128 then
        return value, at
      end
      scale = scale * 128
    end
    return nil, at
  end
  return self
end

-- Field 1 of the message between `at` and `stop`; the last one wins, as in every protobuf parser.
-- Returns nil when the message cannot be parsed.
local function model_name_field(read, at, stop)
  local name = ""
  for _ = 1, MAX_FIELDS do
    if at == stop then
      return name
    end
    local tag
    tag, at = read.varint(at)
    if tag == nil then
      return nil
    end
    local kind, field, length = tag % 8, math.floor(tag / 8), nil
    if kind == 2 then
      length, at = read.varint(at)
      if length == nil or at + length > stop then
        return nil
      end
      if field == 1 then
        if length > 1024 then
          return nil
        end
        name = read.text(at, length)
      end
      at = at + length
    elseif kind == 0 then
      tag, at = read.varint(at)
      if tag == nil then
        return nil
      end
    elseif kind == 1 then
      at = at + 8
    elseif kind == 5 then
      at = at + 4
    else
      return nil
    end
    if at > stop then
      return nil
    end
  end
  return nil
end

local function grpc_model(handle)
  local buffer = handle:body()
  if buffer == nil or buffer:length() < 5 then
    return nil, "3", "ModelInfer: the request has no message"
  end
  local size = buffer:length()
  local read = reader(buffer, size)
  if read.byte(0) ~= 0 then
    return nil, "12", "ModelInfer: compressed messages are not supported; send them uncompressed"
  end
  local length = ((read.byte(1) * 256 + read.byte(2)) * 256 + read.byte(3)) * 256 + read.byte(4)
  if 5 + length ~= size then
    return nil, "3", "ModelInfer: expected exactly one message"
  end
  local name = model_name_field(read, 5, size)
  if name == nil then
    return nil, "3", "ModelInfer: the message is not a ModelInferRequest"
  end
  if name == "" then
    return nil, "3", "model_name: empty; name the model in the message"
  end
  return name
end

-- What follows /v2/models/NAME and needs the model in memory.
local function needs_model(rest)
  local version_rest = string.match(rest, "^versions/[^/]+/(.+)$")
  local verb = version_rest or rest
  return verb == "infer" or verb == "infer_stream" or verb == "generate" or verb == "generate_stream"
end

local function rest_request(handle, headers, path, header_name)
  local bare = string.match(path, "^[^?#]*")
  local segment, rest = string.match(bare, "^/v2/models/([^/]+)/?(.*)$")
  if segment == nil then
    return
  end
  local name = decode(segment)
  if header_name ~= nil and header_name ~= name then
    refuse_rest(handle, "400", "seldon-model: header names " .. shown(header_name) .. ", the path names "
      .. shown(name) .. "; expected the same model in both")
    return
  end
  if not needs_model(rest) then
    return
  end
  if not valid(name) then
    refuse_rest(handle, "404", "model " .. shown(name) .. ": not found")
    return
  end
  local length = tonumber(headers:get("content-length") or "0")
  if length ~= nil and length > MAX_BODY then
    refuse_rest(handle, "413", "request body: " .. length .. " bytes, at most " .. MAX_BODY .. " are accepted")
    return
  end
  headers:replace("x-overbook-model", name)
end

local function grpc_request(handle, header_name)
  local name, status, message = grpc_model(handle)
  if name == nil then
    refuse_grpc(handle, status, message)
  elseif header_name ~= nil and header_name ~= name then
    refuse_grpc(handle, "3", "seldon-model: header names " .. shown(header_name)
      .. ", the message names " .. shown(name) .. "; expected the same model in both")
  elseif not valid(name) then
    refuse_grpc(handle, "5", "model " .. shown(name) .. ": not found")
  else
    -- The headers object from before body() is void once that has waited.
    handle:headers():replace("x-overbook-model", name)
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  for _, name in ipairs(INTERNAL) do
    headers:remove(name)
  end
  local path = headers:get(":path")
  local header_name = headers:get("seldon-model")
  if path == MODEL_INFER then
    grpc_request(handle, header_name)
  elseif path ~= nil then
    rest_request(handle, headers, path, header_name)
  end
end
