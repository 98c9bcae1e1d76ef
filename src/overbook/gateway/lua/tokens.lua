-- Data listener: whose request it is. Prepended to the scripts that decide where a request goes, where tokens are asked
-- for. What is kept of a token is an HMAC-SHA-256 (RFC 2104, FIPS 180-4), as in access/tokens.py; the gateway writes
-- key and tokens in, see snapshot/scripts.py. Only tokens that may use models are here.
-- A header that was found to be a token's is remembered, so that it is not hashed for every request; one that is written
-- in an unusual way is not, so there are never more of these than tokens.
-- That a token was used is noted in memory that the gateway reads (token_uses.py), twice a minute at most.

local KEY = "@KEY@"
local NOTES = "@NOTES@"
local PAUSE = 30
-- A line each: the digest in hexadecimal, its name, how many requests per second it may make, how many may wait ("-" for
-- any number), and the patterns of models' names that it may use; none for all.
local TOKENS = [[
@TOKENS@]]
local LONGEST_HEADER = 300

local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local ror, rshift, lshift, tobit = bit.ror, bit.rshift, bit.lshift, bit.tobit
local byte, char, rep = string.byte, string.char, string.rep
local BLOCK = 64

-- The first 32 bits of the fractions of the roots of the first primes, square (8) and cubic (64).
local function fraction(number)
  return tobit(math.floor((number - math.floor(number)) * 4294967296))
end

local SQUARE, CUBIC = {}, {}
do
  local candidate = 2
  while #CUBIC < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      prime = prime and candidate % divisor ~= 0
    end
    if prime then
      CUBIC[#CUBIC + 1] = fraction(candidate ^ (1 / 3))
      if #SQUARE < 8 then
        SQUARE[#SQUARE + 1] = fraction(math.sqrt(candidate))
      end
    end
    candidate = candidate + 1
  end
end

local words = {}

-- The state after one more block of the text, which begins at `at`.
local function compressed(state, text, at)
  for i = 1, 16 do
    local a, b, c, d = byte(text, at + 4 * i - 4, at + 4 * i - 1)
    words[i] = bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
  end
  for i = 17, 64 do
    local early, late = words[i - 15], words[i - 2]
    words[i] = tobit(words[i - 16] + bxor(ror(early, 7), ror(early, 18), rshift(early, 3))
      + words[i - 7] + bxor(ror(late, 17), ror(late, 19), rshift(late, 10)))
  end
  local a, b, c, d, e, f, g, h = unpack(state)
  for i = 1, 64 do
    local one = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g))
      + CUBIC[i] + words[i])
    local two = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c)))
    a, b, c, d, e, f, g, h = tobit(one + two), a, b, c, tobit(d + one), e, f, g
  end
  return {
    tobit(state[1] + a), tobit(state[2] + b), tobit(state[3] + c), tobit(state[4] + d),
    tobit(state[5] + e), tobit(state[6] + f), tobit(state[7] + g), tobit(state[8] + h),
  }
end

local function big_endian(number)
  return char(rshift(number, 24), band(rshift(number, 16), 255), band(rshift(number, 8), 255), band(number, 255))
end

-- What a text hashes to, of which `before` is the state after its first block.
local function finished(before, text)
  local bits = (BLOCK + #text) * 8
  local padded = text .. "\128" .. rep("\0", (55 - #text) % BLOCK) .. "\0\0\0\0" .. big_endian(bits)
  local state = before
  for at = 1, #padded, BLOCK do
    state = compressed(state, padded, at)
  end
  local parts = {}
  for i = 1, 8 do
    parts[i] = big_endian(state[i])
  end
  return table.concat(parts)
end

-- The key, with which both hashes begin, has at most a block of bytes.
local function keyed(mask)
  local key = string.gsub(KEY, "%x%x", function(hex)
    return char(bxor(tonumber(hex, 16), mask))
  end)
  return compressed(SQUARE, key .. rep(char(mask), BLOCK - #key), 1)
end

local INNER, OUTER = keyed(0x36), keyed(0x5c)

local function digest(token)
  return (string.gsub(finished(OUTER, finished(INNER, token)), ".", function(each)
    return string.format("%02x", byte(each))
  end))
end

-- By digest: the name, the limits, the patterns, or true for a token that may use all models, and when its use is news
-- again.
local known = {}
for each, name, rate, waiting, patterns in string.gmatch(TOKENS, "(%x+) (%S+) (%S+) (%S+) ([^\n]*)\n") do
  local found = {}
  for pattern in string.gmatch(patterns, "[^ ]+") do
    local escaped = string.gsub(pattern, "[.-]", "%%%0")
    found[#found + 1] = "^" .. string.gsub(escaped, "%*", ".-") .. "$"
  end
  known[each] = {
    name = name, rate = tonumber(rate), waiting = tonumber(waiting), patterns = #found == 0 or found, due = 0,
  }
end

local time, open = os.time, io.open

-- Nothing comes of it where it cannot be noted.
local function note(found, now)
  found.due = now + PAUSE
  local notes = open(NOTES, "a")
  if notes ~= nil then
    notes:write(found.name, " ", now, "\n")
    notes:close()
  end
end

local by_header = {}

-- Whose token is in a request's header, as in `known`; nil when it has none that holds.
local function shown_by(header)
  if header == nil or #header > LONGEST_HEADER then
    return nil
  end
  local scheme, token = string.match(header, "^(%a+) +([!-~]+) *$")
  if scheme == nil or string.lower(scheme) ~= "bearer" then
    return nil
  end
  local found = known[digest(token)]
  if found ~= nil and header == "Bearer " .. token then
    by_header[header] = found
  end
  return found
end

-- What the token in a request's header may use: patterns, or true for all; nil when it has no token that holds. And the
-- token, as in `known`.
local function granted(header)
  local found = by_header[header] or shown_by(header)
  if found == nil then
    return nil
  end
  local now = time()
  if now >= found.due then
    note(found, now)
  end
  return found.patterns, found
end

-- Where a request goes: of a token that may have so many waiting, by clusters that tell whose it is, but for places.
local function through(handle, found, cluster)
  if found.waiting ~= nil then
    local own = cluster .. "/" .. found.name
    if (cluster == "cold-rest" or cluster == "cold-grpc" or cluster == "large-rest") and handle:getCluster(own) ~= nil then
      return own
    end
  end
  return cluster
end

local function may_use(patterns, model)
  if patterns == true then
    return true
  elseif not valid_name(model) then
    return false
  end
  for i = 1, #patterns do
    if string.find(model, patterns[i]) then
      return true
    end
  end
  return false
end
