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

local CROOKED = "path: has an empty segment, '.', '..', a backslash or a character that is not ASCII; expected it without"

-- Whether somebody who tidies up paths, as a proxy before a server does, would make another one of this: it has an empty
-- segment, "." or "..", or a backslash, which some take for a slash. It may be decoded there, and once more behind that.
-- And what is not ASCII, which HTTP/2 lets pass, servers read in more ways than one.
local function crooked(path)
  local bare = percent_decode(percent_decode(string.match(path, "^[^?#]*")))
  return string.find(bare, "//", 1, true) ~= nil or string.find(bare, "\\", 1, true) ~= nil
    or string.find(bare .. "/", "/%.%.?[/;]") ~= nil or string.find(path, "[^!-~]") ~= nil
end

-- For error messages: never longer than needed, never with control characters.
local function shown(text)
  return (string.gsub(string.sub(text, 1, @MAX_SHOWN@), "[%c\128-\255]", "?"))
end
