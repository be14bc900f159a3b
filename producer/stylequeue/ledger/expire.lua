-- An open job whose deadline has passed ends, whoever holds it: the holder's fence opens nothing any more.
-- Returns {expired | open | ended, event}.
local id = arg.id
local record = redis.call('HMGET', record_key(id), 'state', 'deadline_ms')
if not record[1] or TERMINAL[record[1]] then
  redis.call('ZREM', DEADLINES_KEY, id)
  return {'ended', ''}
end
if tonumber(record[2]) > now_ms then return {'open', ''} end
return {'expired', finish(id, 'expired', arg.expired)}
