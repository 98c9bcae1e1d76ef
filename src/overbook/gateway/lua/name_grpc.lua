-- Data listener, gRPC ModelInfer. Writes the model named in the message to x-overbook-model, or
-- refuses the request. The message is the truth, because the inference server acts on it: a
-- seldon-model header that names another model is refused, never believed. What it says of a message, and in which
-- words, the gateway says as well of messages that come to it: oip/model_name.py. Those are the ones of streams, and
-- compressed ones that inflate.lua does not read (without the header the request goes to oip/compressed.py).

local MAX_FIELDS = @MAX_FIELDS@
-- No model has a name as long as that, and no more of one is shown.
local LONGEST = @MAX_SHOWN@ + 1
local WINDOW = 512
-- Before the message: whether it is compressed, and its length.
local FRAME = 5
-- Looked up once: it is called for each byte of a tag or length.
local byte_at = string.byte
local INVALID_ARGUMENT, NOT_FOUND = "3", "5"
local MALFORMED = "message: not a ModelInferRequest"
local TOO_MANY = "message: more than " .. MAX_FIELDS .. " fields"

-- The HTTP status is what a proxy on the way would see; clients look at grpc-status.
local function refuse(handle, grpc_status, message)
  handle:respond({ [":status"] = "400", ["grpc-status"] = grpc_status }, message)
end

-- The number at `at` in `bytes`, and where the next thing begins; nil when it is not all there.
local function varint(bytes, at)
  local byte = byte_at(bytes, at)
  if byte == nil then
    return nil, at
  elseif byte < 128 then
    return byte, at + 1
  end
  local value, scale = byte % 128, 128
  for place = at + 1, at + 9 do
    byte = byte_at(bytes, place)
    if byte == nil then
      return nil, at
    end
    value = value + (byte % 128) * scale
    if byte < 128 then
      return value, place + 1
    end
    scale = scale * 128
  end
  return nil, at
end

-- How many bytes of content a field of this wire type has, and where they begin. nil when the bytes are
-- no protobuf.
local function content(bytes, at, kind)
  if kind == 2 then
    return varint(bytes, at)
  elseif kind == 0 then
    local value, after = varint(bytes, at)
    return value and 0, after
  elseif kind == 1 then
    return 8, at
  elseif kind == 5 then
    return 4, at
  end
  return nil, at
end

-- Field 1 of the message that fills the buffer after its frame. The last one wins, as in every protobuf
-- parser, so all fields must be walked. Copies a window at a time, never the whole body; `window` is what
-- it begins with. nil and what is wrong when the message cannot be parsed, for which wire/protobuf.py has the
-- same rules in the same order.
local function model_name(buffer, window, size)
  local name, at, first = "", FRAME, 0
  if at == size then
    return name
  end
  for _ = 1, MAX_FIELDS do
    -- A tag and a length take at most 20 bytes.
    if at + 20 > first + #window and first + #window < size then
      first, window = at, buffer:getBytes(at, math.min(WINDOW, size - at))
    end
    local tag, place = varint(window, at - first + 1)
    -- No field has the number 0, and a tag has 32 bits: servers differ in what they make of more.
    if tag == nil or tag < 8 or tag >= 4294967296 then
      return nil, MALFORMED
    end
    local length
    length, place = content(window, place, tag % 8)
    if length == nil then
      return nil, MALFORMED
    end
    local begins = first + place - 1
    at = begins + length
    if at > size then
      return nil, MALFORMED
    elseif tag == 10 then
      if length > LONGEST then
        length = LONGEST
      end
      if place + length - 1 <= #window then
        name = string.sub(window, place, place + length - 1)
      else
        name = buffer:getBytes(begins, length)
      end
    end
    if at == size then
      return name
    end
  end
  return nil, TOO_MANY
end

-- The model's name, or nil, a gRPC status and a message; nothing at all when the message is compressed and cannot be
-- read here. `encoding`: how the request says that messages are compressed.
local function model_of(buffer, encoding)
  local size = buffer ~= nil and buffer:length() or 0
  if size < FRAME then
    return nil, INVALID_ARGUMENT, "ModelInfer: the request has no message"
  end
  local window = buffer:getBytes(0, math.min(WINDOW, size))
  local flag, a, b, c, d = string.byte(window, 1, FRAME)
  -- Compressed or not: of a part of a message gRPC in the gateway would wait for the rest, which never comes.
  if FRAME + ((a * 256 + b) * 256 + c) * 256 + d ~= size then
    return nil, INVALID_ARGUMENT, "ModelInfer: expected exactly one message"
  end
  if flag ~= 0 then
    if flag ~= 1 or size > MAX_INFLATED then
      return nil
    end
    buffer = inflated(buffer:getBytes(FRAME, size - FRAME), encoding, FRAME)
    if buffer == nil then
      return nil
    end
    size = buffer:length()
    window = buffer:getBytes(0, math.min(WINDOW, size))
  end
  local name, wrong = model_name(buffer, window, size)
  if name == nil then
    return nil, INVALID_ARGUMENT, wrong
  elseif name == "" then
    return nil, INVALID_ARGUMENT, "model_name: empty; name the model in the message"
  elseif not valid_name(name) then
    return nil, NOT_FOUND, "model " .. shown(name) .. ": not found"
  end
  return name
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local header_name, encoding = headers:get("seldon-model"), headers:get("grpc-encoding")
  local name, status, message = model_of(handle:body(), encoding)
  if status ~= nil then
    refuse(handle, status, message)
  elseif name == nil then
    return
  elseif header_name ~= nil and header_name ~= name then
    refuse(handle, INVALID_ARGUMENT, "seldon-model: header names " .. shown(header_name)
      .. ", the message names " .. shown(name) .. "; expected the same model in both")
  else
    -- A headers object from before body() is void once that has waited.
    handle:headers():replace("x-overbook-model", name)
  end
end
