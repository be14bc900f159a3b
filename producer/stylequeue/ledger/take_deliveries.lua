-- Takes what is to be sent to an endpoint now, under a lease: at most `in_flight` are sent at once, by whomever.
-- Returns {wait_ms, {event id, event, tries} ...}: the next one is due after so long; -1: there is none, or the endpoint is
-- disabled.
local endpoint, taken = arg.endpoint, {}
redis.call('HSETNX', endpoint_key(endpoint), 'since_ms', now_ms)
keep(endpoint)
local known = redis.call('HMGET', endpoint_key(endpoint), 'disabled', 'hold_until_ms')
if known[1] then return {-1} end
-- Whoever sent these is gone: what became of them nobody knows.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', sending_key(endpoint), '-inf', now_ms)) do
  redis.call('ZREM', sending_key(endpoint), id)
  redis.call('ZADD', to_send_key(endpoint), now_ms, id)
end
if known[2] and tonumber(known[2]) > now_ms then return {tonumber(known[2]) - now_ms} end
local free = arg.in_flight - redis.call('ZCARD', sending_key(endpoint))
for _, id in ipairs(free > 0 and redis.call('ZRANGEBYSCORE', to_send_key(endpoint), '-inf', now_ms, 'LIMIT', 0, free) or {}) do
  local delivery = redis.call('HMGET', delivery_of(endpoint, id), 'event', 'tries')
  if delivery[1] then
    redis.call('ZREM', to_send_key(endpoint), id)
    redis.call('ZADD', sending_key(endpoint), now_ms + arg.lease_ms, id)
    redis.call('HSET', delivery_of(endpoint, id), 'token', arg.token)
    table.insert(taken, {id, delivery[1], tonumber(delivery[2])})
  else
    forget(endpoint, id)
  end
end
keep(endpoint)
local next_one = redis.call('ZRANGE', to_send_key(endpoint), 0, 0, 'WITHSCORES')
return {next_one[1] and math.max(0, tonumber(next_one[2]) - now_ms) or -1, unpack(taken)}
