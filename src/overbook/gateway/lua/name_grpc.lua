-- Data listener, gRPC ModelInfer only. Writes the model named in the message to x-overbook-model, or
-- refuses the request. The message is the truth, because the inference server acts on it: a
-- seldon-model header that names another model is refused, never believed.

local MAX_FIELDS = 100000
local WINDOW = 512
local INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED = "3", "5", "12"

-- The HTTP status is what a proxy on the way would see; clients look at grpc-status.
local function refuse(handle, grpc_status, message)
  handle:respond({ [":status"] = "400", ["grpc-status"] = grpc_status }, message)
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

-- Where the field after the one at `at` begins; for a length-delimited field 1 also where its bytes
-- begin and how many they are. nil when the bytes are no protobuf.
local function next_field(read, at, stop)
  local tag
  tag, at = read.varint(at)
  if tag == nil then
    return nil
  end
  local kind, length = tag % 8, nil
  if kind == 2 then
    length, at = read.varint(at)
    if length == nil or at + length > stop then
      return nil
    end
    if tag == 10 then
      return at + length, at, length
    end
    return at + length
  elseif kind == 0 then
    length, at = read.varint(at)
    return length ~= nil and at or nil
  elseif kind == 1 then
    return at + 8
  elseif kind == 5 then
    return at + 4
  end
  return nil
end

-- Field 1 of the message between `at` and `stop`. The last one wins, as in every protobuf parser, so
-- all fields must be walked. nil when the message cannot be parsed.
local function model_name(read, at, stop)
  local name = ""
  for _ = 1, MAX_FIELDS do
    if at == stop then
      return name
    end
    local after, start, length = next_field(read, at, stop)
    if after == nil or after > stop or (length ~= nil and length > 1024) then
      return nil
    end
    if start ~= nil then
      name = read.text(start, length)
    end
    at = after
  end
  return nil
end

-- The model's name, or nil, a gRPC status and a message.
local function model_of(buffer)
  if buffer == nil or buffer:length() < 5 then
    return nil, INVALID_ARGUMENT, "ModelInfer: the request has no message"
  end
  local size = buffer:length()
  local read = reader(buffer, size)
  if read.byte(0) ~= 0 then
    return nil, UNIMPLEMENTED, "ModelInfer: compressed messages are not supported; send them uncompressed"
  end
  local length = ((read.byte(1) * 256 + read.byte(2)) * 256 + read.byte(3)) * 256 + read.byte(4)
  if 5 + length ~= size then
    return nil, INVALID_ARGUMENT, "ModelInfer: expected exactly one message"
  end
  local name = model_name(read, 5, size)
  if name == nil then
    return nil, INVALID_ARGUMENT, "ModelInfer: the message is not a ModelInferRequest"
  elseif name == "" then
    return nil, INVALID_ARGUMENT, "model_name: empty; name the model in the message"
  elseif not valid_name(name) then
    return nil, NOT_FOUND, "model " .. shown(name) .. ": not found"
  end
  return name
end

function envoy_on_request(handle)
  local header_name = handle:headers():get("seldon-model")
  local name, status, message = model_of(handle:body())
  if name == nil then
    refuse(handle, status, message)
  elseif header_name ~= nil and header_name ~= name then
    refuse(handle, INVALID_ARGUMENT, "seldon-model: header names " .. shown(header_name)
      .. ", the message names " .. shown(name) .. "; expected the same model in both")
  else
    -- A headers object from before body() is void once that has waited.
    handle:headers():replace("x-overbook-model", name)
  end
end
