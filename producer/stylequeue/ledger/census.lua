-- All that can be counted, at one moment. It changes nothing.
-- `queues` and `endpoints` are those asked for; among the first `look_at` of the jobs that get a message now, the oldest
-- is looked for; `minutes`: over so many whole ones, and the present one, ends are counted.
-- Returns JSON.
local function queue_of(id) return redis.call('HGET', record_key(id), 'queue') end

local running = {}
for _, id in ipairs(redis.call('ZRANGE', state_key('running'), 0, -1)) do
  local queue = queue_of(id)
  if queue then running[queue] = (running[queue] or 0) + 1 end
end

-- When the oldest job that waits was accepted: the first of those that have a message, or of those that get one now.
local function oldest_ms(queue)
  local oldest = tonumber(redis.call('ZRANGE', ready_key(queue), 0, 0, 'WITHSCORES')[2])
  local ids = redis.call('ZRANGEBYSCORE', due_key(queue), '-inf', now_ms, 'LIMIT', 0, arg.look_at)
  for _, created_ms in ipairs(ids[1] and redis.call('ZMSCORE', queue_key(queue), unpack(ids)) or {}) do
    if created_ms then oldest = math.min(oldest or math.huge, tonumber(created_ms)) end
  end
  return oldest
end

local minute = math.floor(now_ms / 60000)
local queues = {}
for _, queue in ipairs(arg.queues) do
  local ready, due = redis.call('ZCARD', ready_key(queue)), redis.call('ZCARD', due_key(queue))
  -- Their messages are about to be sent.
  local past_due = redis.call('ZCOUNT', due_key(queue), '-inf', now_ms)
  local parked = math.max(0, redis.call('ZCARD', queue_key(queue)) - ready - due - (running[queue] or 0))
  local ended = 0
  for n = 0, arg.minutes do ended = ended + (redis.call('GET', ended_key(queue .. ':' .. (minute - n))) or 0) end
  queues[queue] = {waiting = ready + past_due, due = due - past_due, parked = parked, running = running[queue] or 0,
    ended = ended, oldest_ms = oldest_ms(queue),
    paused_ms = tonumber(redis.call('HGET', PAUSED_KEY, queue) or nil)}
end

-- When the oldest event that has not arrived was to be sent for the first time.
local function undelivered_ms(endpoint)
  local oldest
  for _, index in ipairs({to_send_key, sending_key}) do
    local ids = redis.call('ZRANGE', index(endpoint), 0, -1)
    for from = 1, #ids, 1000 do
      local made = redis.call('ZMSCORE', deliveries_key(endpoint), unpack(ids, from, math.min(from + 999, #ids)))
      for _, at_ms in ipairs(made) do
        if at_ms then oldest = math.min(tonumber(at_ms), oldest or math.huge) end
      end
    end
  end
  return oldest
end

local endpoints = {}
for _, endpoint in ipairs(arg.endpoints) do
  endpoints[endpoint] = {
    waiting = redis.call('ZCARD', to_send_key(endpoint)) + redis.call('ZCARD', sending_key(endpoint)),
    oldest_ms = undelivered_ms(endpoint),
    disabled = redis.call('HEXISTS', endpoint_key(endpoint), 'disabled') == 1,
  }
end

return cjson.encode({
  now_ms = now_ms,
  ended_over_ms = arg.minutes * 60000 + now_ms % 60000,
  queues = queues,
  endpoints = endpoints,
  counters = redis.call('HGETALL', COUNTERS_KEY),
  histograms = redis.call('HGETALL', HISTOGRAMS_KEY),
  dead_letters = redis.call('ZCARD', DEAD_KEY),
  untold = redis.call('ZCARD', UNTOLD_KEY),
  keeper_ms = tonumber(redis.call('GET', KEEPER_KEY) or nil),
})
