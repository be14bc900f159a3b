-- A running job goes back to the queue, or ends where nobody wants it any more or its attempts are used up.
-- ARGV: limits, id, fence, put back {error, delay_ms, charged, if_lease_ran_out}, exhausted draft, cancelled draft.
-- Returns queued | cancelled | failed | lost.
local id, fence, how = ARGV[2], ARGV[3], cjson.decode(ARGV[4])
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'lease_until_ms', 'wanted')
if record[1] ~= 'running' or record[2] ~= fence then return 'lost' end
if how.if_lease_ran_out and tonumber(record[3]) > now_ms then return 'lost' end
redis.call('HSET', key, 'last_error', how.error)
-- Its holder never heard of it, or was gone before it could act.
if record[4] == 'cancel' then
  finish(id, 'cancelled', ARGV[6])
  return 'cancelled'
end
if how.charged and exhausted(id) then
  give_up(id, ARGV[5])
  return 'failed'
end
put_back(id, how.error, how.delay_ms, how.charged)
return 'queued'
