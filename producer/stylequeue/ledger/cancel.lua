-- Somebody no longer wants the job: a queued one ends here, the holder of a running one hears it at its next heartbeat.
-- ARGV: limits, id, wanted (cancel | keep), cancelled draft. Returns {cancelled | asked | ended | unknown, event}.
local id, wanted = ARGV[2], ARGV[3]
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'wanted', 'outcome')
if not record[1] then return {'unknown', ''} end
if TERMINAL[record[1]] then return {'ended', record[3]} end
if record[1] == 'queued' then return {'cancelled', finish(id, 'cancelled', ARGV[4])} end
-- Once cancelled there is nothing to keep.
if record[2] ~= 'cancel' then redis.call('HSET', key, 'wanted', wanted) end
return {'asked', ''}
