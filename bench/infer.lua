-- wrk: inference requests to one model, or to several in turn or at random. Settings come in the environment.
local models = tonumber(os.getenv("BENCH_MODELS"))
local prefix = os.getenv("BENCH_PREFIX")
local numbered = prefix .. "%0" .. os.getenv("BENCH_DIGITS") .. "d"
local at_random = os.getenv("BENCH_RANDOM") == "1"

wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = os.getenv("BENCH_BODY")
if os.getenv("BENCH_TOKEN") ~= "" then
  wrk.headers["authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")
end

if models > 1 then
  local turn = 0
  request = function()
    turn = at_random and math.random(0, models - 1) or (turn + 1) % models
    return wrk.format(nil, "/v2/models/" .. string.format(numbered, turn) .. "/infer")
  end
else
  wrk.path = "/v2/models/" .. prefix .. "/infer"
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", latency:percentile(50), latency:percentile(95),
    latency:percentile(99), latency.max, summary.requests, summary.duration,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
