-- Prepended to the scripts below: what a REST path says about a model. Pure string work.

local MAX_BODY = 80 * 1024 * 1024

-- What may stand behind a model's name and is told without the model. Anything else is the model's, be it a path that
-- it defines for itself; what its server has not is refused before anything is loaded, see oip/surface.py.
local TOLD = { [""] = true, ready = true, stats = true, ["trace/setting"] = true }

local function valid_name(name)
  return #name <= 63
    and string.find(name, "^[a-z0-9][-a-z0-9]*$") ~= nil
    and string.sub(name, -1) ~= "-"
end

local function percent_decode(text)
  return (string.gsub(text, "%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

-- The model in the path (percent-decoded, nil when the path has none), and whether the request needs
-- that model in memory. Readiness, metadata and statistics do not.
local function parse_path(path)
  local bare = string.match(path, "^[^?#]*")
  local segment, rest = string.match(bare, "^/v2/models/([^/]+)/?(.*)$")
  if segment == nil then
    return nil, false
  end
  local verb = string.match(rest, "^versions/[^/]+/?(.*)$") or rest
  -- Of no model: the statistics of all.
  local needed = not TOLD[verb] and not (segment == "stats" and rest == "")
  return percent_decode(segment), needed
end

-- For error messages: never longer than needed, never with control characters.
local function shown(text)
  return (string.gsub(string.sub(text, 1, 80), "[%c\128-\255]", "?"))
end
