-- What came of sending an event to an endpoint: `delivered`; else it is sent again after `delay_ms`, or given up where that
-- is -1: a dead letter. `attempt` is what to remember of it (JSON). `hold_ms`: nothing else is sent to the endpoint until
-- then. `disable`: why nothing ever is, until somebody enables it; it is disabled, too, where nothing arrived for
-- `patience_ms`.
-- Returns {delivered | pending | given_up | stale, why it is disabled now or ''}.
local endpoint, id = arg.endpoint, arg.id
local key, fares = delivery_of(endpoint, id), endpoint_key(endpoint)
local delivery = redis.call('HMGET', key, 'token', 'attempts', 'event', 'state', 'overtaken')
if not delivery[3] or delivery[4] ~= 'pending' then return {'stale', ''} end
if string.find(' ' .. (delivery[5] or '') .. ' ', ' ' .. arg.token .. ' ', 1, true) then return {'stale', ''} end
-- Somebody else sends it by now, and says what came of that. What has arrived has arrived all the same.
if delivery[1] ~= arg.token and not arg.delivered then return {'stale', ''} end
keep(endpoint)
redis.call('ZREM', sending_key(endpoint), id)
redis.call('ZREM', to_send_key(endpoint), id)
local attempts = delivery[2] == '' and arg.attempt or (delivery[2] .. ',' .. arg.attempt)
redis.call('HSET', key, 'attempts', #attempts > arg.max_attempts_bytes and arg.attempt or attempts)
if arg.delivered then
  redis.call('HSET', key, 'state', 'delivered')
  count('deliveries', endpoint, 'delivered')
  redis.call('HSET', fares, 'succeeded_ms', now_ms)
  redis.call('HDEL', fares, 'failing_since_ms', 'hold_until_ms')
  return {'delivered', ''}
end

redis.call('HINCRBY', key, 'tries', 1)
count('deliveries', endpoint, arg.delay_ms >= 0 and 'failed' or 'given_up')
redis.call('HSETNX', fares, 'failing_since_ms', now_ms)
redis.call('HSET', fares, 'failed_ms', now_ms, 'said', arg.said)
if arg.hold_ms > 0 then
  local until_ms = math.max(now_ms + arg.hold_ms, tonumber(redis.call('HGET', fares, 'hold_until_ms') or 0))
  redis.call('HSET', fares, 'hold_until_ms', until_ms)
end
local disable = arg.disable
if disable == '' and now_ms - tonumber(redis.call('HGET', fares, 'failing_since_ms')) >= arg.patience_ms then
  disable = 'nothing has arrived for ' .. math.floor(arg.patience_ms / 86400000) .. ' days'
end
if disable ~= '' then
  -- Others that were under way say so as well.
  if redis.call('HEXISTS', fares, 'disabled') == 1 then disable = '' end
  if disable ~= '' then redis.call('HSET', fares, 'disabled', disable, 'disabled_ms', now_ms) end
end
if arg.delay_ms >= 0 then
  redis.call('HSET', key, 'next_ms', now_ms + arg.delay_ms)
  redis.call('ZADD', to_send_key(endpoint), now_ms + arg.delay_ms, id)
  keep(endpoint)
  return {'pending', disable}
end
redis.call('HSET', key, 'state', 'given_up')
bury(letter_of(endpoint, id), {kind = 'delivery', queue = endpoint, code = 'delivery_given_up', reason = arg.said,
  attempts = redis.call('HGET', key, 'tries'), message = delivery[3]})
return {'given_up', disable}
