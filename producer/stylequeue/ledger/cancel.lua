-- Somebody no longer wants the job: a queued one ends here, the holder of a running one hears it at its next heartbeat.
-- A queued one of which a picture is to be kept goes to a worker at once, if one had it before: that may have left a
-- checkpoint behind.
-- `wanted`: cancel | keep.
-- Returns {cancelled | asked | ended | unknown, event}.
local id, wanted = arg.id, arg.wanted
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'wanted', 'outcome', 'attempt', 'waits_for')
if not record[1] then return {'unknown', ''} end
if TERMINAL[record[1]] then return {'ended', record[3]} end
if record[1] == 'queued' then
  local nothing_to_keep = record[4] == '0' or record[5]
  if wanted == 'cancel' or nothing_to_keep then return {'cancelled', finish(id, 'cancelled', arg.cancelled)} end
  redis.call('HDEL', key, 'not_before_ms')
  stop_waiting(id)
  make_due(id, now_ms)
end
-- Once cancelled there is nothing to keep.
if record[2] ~= 'cancel' then redis.call('HSET', key, 'wanted', wanted) end
return {'asked', ''}
