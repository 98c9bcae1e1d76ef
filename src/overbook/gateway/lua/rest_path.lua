-- Prepended to the other scripts: what a REST path says about a model. Pure string work.
-- What stands between two @, here and there, is a limit: snapshot/names.py writes the number in.

local MAX_BODY = @MAX_BODY@

-- What may stand behind a model's name and is told without the model. Anything else is the model's, be it a path that
-- it defines for itself; what its server has not is refused before anything is loaded, see oip/surface.py.
local TOLD = { [""] = true, ready = true, config = true, stats = true, ["trace/setting"] = true }

local function valid_name(name)
  return #name <= @MAX_NAME@ and string.find(name, "^[A-Za-z0-9_][A-Za-z0-9_.-]*$") ~= nil
end

local function percent_decode(text)
  return (string.gsub(text, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- The model in the path (percent-decoded, nil when the path has none), whether the request needs that model in memory
-- (readiness, metadata, configuration and statistics do not), and whether the path has the name as it is.
local function parse_path(path)
  local bare = string.match(path, "^[^?#]*")
  local segment, rest = string.match(bare, "^/v2/models/([^/]+)/?(.*)$")
  if segment == nil then
    return nil, false, true
  end
  local verb = string.match(rest, "^versions/[^/]+/?(.*)$") or rest
  -- Of no model: the statistics of all.
  local needed = not TOLD[verb] and not (segment == "stats" and rest == "")
  local name = percent_decode(segment)
  return name, needed, name == segment
end

-- For error messages: never longer than needed, never with control characters.
local function shown(text)
  return (string.gsub(string.sub(text, 1, @MAX_SHOWN@), "[%c\128-\255]", "?"))
end
