-- A running job goes back to the queue, or ends where its attempts are used up.
-- ARGV: limits, id, fence, put back {error, delay_ms, charged, if_lease_ran_out}, exhausted draft.
-- Returns queued | failed | lost.
local id, fence, how = ARGV[2], ARGV[3], cjson.decode(ARGV[4])
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'lease_until_ms')
if record[1] ~= 'running' or record[2] ~= fence then return 'lost' end
if how.if_lease_ran_out and tonumber(record[3]) > now_ms then return 'lost' end
redis.call('HSET', key, 'last_error', how.error)
if how.charged and exhausted(id) then
  give_up(id, ARGV[5])
  return 'failed'
end
put_back(id, how.error, how.delay_ms, how.charged)
return 'queued'
