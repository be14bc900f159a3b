-- A running job goes back to the queue, or ends where nobody wants it any more or its attempts are used up.
-- Returns queued | cancelled | failed | lost.
local id = arg.id
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'lease_until_ms', 'wanted')
if record[1] ~= 'running' or record[2] ~= arg.fence then return arg.if_lease_ran_out and 'lost' or stale() end
if arg.if_lease_ran_out and tonumber(record[3]) > now_ms then return 'lost' end
redis.call('HSET', key, 'last_error', arg.error)
-- Its holder never heard of it, or was gone before it could act.
if record[4] == 'cancel' then
  finish(id, 'cancelled', arg.cancelled)
  return 'cancelled'
end
if arg.charged and exhausted(id) then
  give_up(id, arg.exhausted)
  return 'failed'
end
count('put_backs', string.match(arg.error, '^%[([%w_]+)%]') or '')
put_back(id, arg.error, arg.delay_ms, arg.charged)
return 'queued'
