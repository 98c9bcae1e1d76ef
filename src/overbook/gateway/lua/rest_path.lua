-- Prepended to the scripts below: what a REST path says about a model. Pure string work.

local MAX_BODY = 80 * 1024 * 1024

local VERBS = { infer = true, infer_stream = true, generate = true, generate_stream = true }

local function valid_name(name)
  return #name <= 253 and string.find(name, "^[A-Za-z0-9_][A-Za-z0-9_.-]*$") ~= nil
end

local function percent_decode(text)
  return (string.gsub(text, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- The model in the path (percent-decoded, nil when the path has none), whether the request needs that model in memory
-- (readiness and metadata do not), and whether the path has the name as it is.
local function parse_path(path)
  local bare = string.match(path, "^[^?#]*")
  local segment, rest = string.match(bare, "^/v2/models/([^/]+)/?(.*)$")
  if segment == nil then
    return nil, false, true
  end
  local verb = string.match(rest, "^versions/[^/]+/(.+)$") or rest
  local name = percent_decode(segment)
  return name, VERBS[verb] == true, name == segment
end

-- For error messages: never longer than needed, never with control characters.
local function shown(text)
  return (string.gsub(string.sub(text, 1, 80), "[%c\128-\255]", "?"))
end
