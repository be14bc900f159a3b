-- The holder lives: its lease is renewed. It may tell how far it is, and hears whether to go on.
-- `number` 0: there is nothing to tell.
-- Returns go_on | cancel | keep | overdue | leave | lost; `leave`: its worker is drained, and another is to go on.
local id, lease_ms, number = arg.id, arg.lease_ms, arg.number
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'deadline_ms', 'progress_number', 'wanted', 'worker')
if record[1] ~= 'running' or record[2] ~= arg.fence then return stale() end
redis.call('HSET', key, 'lease_until_ms', now_ms + lease_ms)
redis.call('ZADD', LEASES_KEY, now_ms + lease_ms, id)
-- A number that was seen is the same call sent again because its answer was lost.
if number > tonumber(record[4] or 0) then
  redis.call('HSET', key, 'progress_number', number, 'progress', tell(id, arg.progress))
end
if tonumber(record[3]) <= now_ms then return 'overdue' end
if record[5] then return record[5] end
return redis.call('GET', drain_key(record[6] or '')) == 'checkpoint' and 'leave' or 'go_on'
