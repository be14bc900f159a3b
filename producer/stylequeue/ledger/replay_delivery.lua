-- Sends an event to an endpoint once more, whatever came of it before. Returns queued | unknown.
local key = delivery_of(arg.endpoint, arg.id)
if redis.call('EXISTS', key) == 0 then return 'unknown' end
redis.call('PEXPIRE', key, arg.kept_ms)
redis.call('HSET', key, 'made_ms', now_ms)
redis.call('ZADD', deliveries_key(arg.endpoint), now_ms, arg.id)
-- Whoever sends it now will say what came of it to nobody.
redis.call('HDEL', key, 'token')
redis.call('ZREM', sending_key(arg.endpoint), arg.id)
send_anew(arg.endpoint, arg.id)
keep(arg.endpoint)
return 'queued'
