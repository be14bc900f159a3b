-- An endpoint is sent to again, and what waits for it is due now. Returns how many those are.
local endpoint = arg.endpoint
redis.call('HSETNX', endpoint_key(endpoint), 'since_ms', now_ms)
redis.call('HDEL', endpoint_key(endpoint), 'disabled', 'disabled_ms', 'failing_since_ms', 'hold_until_ms', 'said')
local waiting = redis.call('ZRANGE', to_send_key(endpoint), 0, -1)
for _, id in ipairs(waiting) do redis.call('ZADD', to_send_key(endpoint), now_ms, id) end
keep(endpoint)
return #waiting
