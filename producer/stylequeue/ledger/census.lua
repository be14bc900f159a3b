-- All that can be counted, at one moment. It changes nothing.
-- `queues` and `endpoints` are those asked for; among the first `search` of a queue's jobs, its oldest that waits is
-- looked for; `minutes`: over so many whole ones, and the present one, ends are counted.
-- Returns JSON.
local function queue_of(id) return redis.call('HGET', record_key(id), 'queue') end

local running, past_due = {}, {}
for _, id in ipairs(redis.call('ZRANGE', state_key('running'), 0, -1)) do
  local queue = queue_of(id)
  if queue then running[queue] = (running[queue] or 0) + 1 end
end
-- Their messages are about to be sent.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE_KEY, '-inf', now_ms, 'LIMIT', 0, arg.look_at)) do
  local queue = queue_of(id)
  if queue then past_due[queue] = (past_due[queue] or 0) + 1 end
end

-- When the oldest job that waits was accepted: those that are painted, parked or due later stand among them, by tens of
-- thousands where their worker is away.
local function oldest_ms(queue)
  for from = 0, arg.search - 1, 1000 do
    local ids = redis.call('ZRANGE', queue_key(queue), from, math.min(from + 1000, arg.search) - 1)
    if #ids == 0 then return nil end
    local not_parked = {}
    for n, parked in ipairs(redis.call('ZMSCORE', WAITING_KEY, unpack(ids))) do
      if not parked then not_parked[#not_parked + 1] = ids[n] end
    end
    local due_ms = not_parked[1] and redis.call('ZMSCORE', DUE_KEY, unpack(not_parked)) or {}
    for n, id in ipairs(not_parked) do
      if tonumber(due_ms[n] or 0) <= now_ms and redis.call('HGET', record_key(id), 'state') == 'queued' then
        return tonumber(redis.call('ZSCORE', queue_key(queue), id))
      end
    end
  end
end

local minute = math.floor(now_ms / 60000)
local queues = {}
for _, queue in ipairs(arg.queues) do
  local open = redis.call('ZCARD', queue_key(queue))
  local parked = redis.call('ZINTERCARD', 2, queue_key(queue), WAITING_KEY)
  local due = math.max(0, redis.call('ZINTERCARD', 2, queue_key(queue), DUE_KEY) - (past_due[queue] or 0))
  local waiting = math.max(0, open - parked - due - (running[queue] or 0))
  local ended = 0
  for n = 0, arg.minutes do ended = ended + (redis.call('GET', ended_key(queue .. ':' .. (minute - n))) or 0) end
  queues[queue] = {waiting = waiting, due = due, parked = parked, running = running[queue] or 0, ended = ended,
    oldest_ms = waiting > 0 and oldest_ms(queue) or nil,
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
