-- Sends an event to an endpoint once more, whatever came of it before. Returns queued | unknown.
local key = delivery_of(arg.endpoint, arg.id)
if redis.call('EXISTS', key) == 0 then return 'unknown' end
redis.call('PEXPIRE', key, arg.kept_ms)
redis.call('HSET', key, 'made_ms', now_ms)
redis.call('ZADD', deliveries_key(arg.endpoint), now_ms, arg.id)
-- What comes of sending it now, if somebody does, is of before: not even what arrives makes this one needless. And of
-- those who were overtaken before, some may be at it still.
local under_way, overtaken = unpack(redis.call('HMGET', key, 'token', 'overtaken'))
if under_way then
  local all = overtaken and overtaken .. ' ' .. under_way or under_way
  redis.call('HSET', key, 'overtaken', string.sub(all, -arg.max_overtaken_chars))
end
redis.call('HDEL', key, 'token')
redis.call('ZREM', sending_key(arg.endpoint), arg.id)
send_anew(arg.endpoint, arg.id)
keep(arg.endpoint)
return 'queued'
