-- Inflates the message of a compressed call of gRPC, with the system's zlib, so that its fields can be read. Only what is
-- plainly one whole stream of no more than MAX_INFLATED bytes, and no bomb: for anything else, and where there is no
-- zlib, it says nothing, and oip/compressed.py has the last word. A worker does nothing else meanwhile, hence the limits:
-- zlib makes about a gigabyte a second of what is all the same, and who sends little must not cause much.

local MAX_INFLATED = @MAX_INFLATED@
-- What a message may become: so many times what was sent, and what is little in any case.
local MOST_TIMES, LITTLE = 32, 65536
-- Window bits of zlib, with which it takes nothing but this encoding.
local ENCODINGS = { gzip = 31, deflate = 15 }
local FINISH, STREAM_END = 4, 1

local found, ffi = pcall(require, "ffi")
local zlib, stream, output
if found then
  ffi.cdef([[
    typedef struct {
      const char *next_in; unsigned avail_in; unsigned long total_in;
      char *next_out; unsigned avail_out; unsigned long total_out;
      const char *msg; void *state; void *zalloc; void *zfree; void *opaque;
      int data_type; unsigned long adler; unsigned long reserved;
    } overbook_stream;
    const char *zlibVersion(void);
    int inflateInit2_(overbook_stream *, int, const char *, int);
    int inflateReset2(overbook_stream *, int);
    int inflate(overbook_stream *, int);
    int inflateEnd(overbook_stream *);
  ]])
  found, zlib = pcall(ffi.load, "libz.so.1")
end

-- Made with the first message that needs them, and used for all.
local function prepare()
  local made = ffi.gc(ffi.new("overbook_stream"), zlib.inflateEnd)
  if zlib.inflateInit2_(made, 15, zlib.zlibVersion(), ffi.sizeof("overbook_stream")) == 0 then
    stream, output = made, ffi.new("char[?]", MAX_INFLATED)
  end
end

-- What `bytes` are when they are inflated, as a buffer like Envoy's that begins with `spare` bytes of no meaning; or
-- nil. It holds until the next call.
local function inflated(bytes, encoding, spare)
  local bits = ENCODINGS[encoding]
  if not found or bits == nil then
    return nil
  elseif stream == nil then
    prepare()
  end
  if stream == nil or zlib.inflateReset2(stream, bits) ~= 0 then
    return nil
  end
  stream.next_in, stream.avail_in = bytes, #bytes
  local most = math.min(MAX_INFLATED, LITTLE + MOST_TIMES * #bytes)
  stream.next_out, stream.avail_out = output + spare, most - spare
  if zlib.inflate(stream, FINISH) ~= STREAM_END or stream.avail_in ~= 0 then
    return nil
  end
  local size = most - stream.avail_out
  return {
    length = function() return size end,
    getBytes = function(_, at, length) return ffi.string(output + at, length) end,
  }
end
