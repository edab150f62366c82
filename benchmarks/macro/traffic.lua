-- What wrk sends, and the exact totals of the run.
-- Arguments: "replay" FILE START: the requests of FILE (separated by NUL) in turn, from number START on;
--            "fresh" FILE RUN: the one request of FILE, its three %s filled with values never sent before.
local requests, count, at = {}, 0, 0
local template, run
local random, format = math.random, string.format

local function hex32()
  return format("%08x%08x%08x%08x", random(0, 2147483647), random(0, 2147483647),
    random(0, 2147483647), random(0, 2147483647))
end

local function replay()
  at = at + 1
  if at > count then at = 1 end
  return requests[at]
end

local function fresh()
  at = at + 1
  return format(template, run .. "-" .. at, hex32(), hex32())
end

function init(args)
  local file = assert(io.open(args[2], "rb"))
  local text = file:read("*a")
  file:close()
  if args[1] == "fresh" then
    template, run = text, format("%x", tonumber(args[3]))
    math.randomseed(tonumber(args[3]))
    request = fresh
  else
    for each in (text .. "\0"):gmatch("([^%z]+)%z") do
      count = count + 1
      requests[count] = each
    end
    at = tonumber(args[3]) % count
    request = replay
  end
end

-- wrk asks before init whether requests differ; init puts the real function in its place.
function request()
  return "GET / HTTP/1.1\r\n\r\n"
end

-- wrk's own report rounds its totals.
function done(summary, latency)
  local errors = summary.errors
  io.write(format('RESULT {"requests": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ' ..
    '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
