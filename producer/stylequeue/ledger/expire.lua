-- An open job whose deadline has passed ends, whoever holds it: the holder's fence opens nothing any more.
-- ARGV: limits, id, expired draft. Returns {expired | open | ended, event}.
local id = ARGV[2]
local record = redis.call('HMGET', record_key(id), 'state', 'deadline_ms')
if not record[1] or TERMINAL[record[1]] then
  redis.call('ZREM', DEADLINES_KEY, id)
  return {'ended', ''}
end
if tonumber(record[2]) > now_ms then return {'open', ''} end
return {'expired', finish(id, 'expired', ARGV[3])}
