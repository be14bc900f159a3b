-- The holder tells how far it is.
-- ARGV: limits, id, fence, number, progress draft. Returns go_on | overdue | lost.
local id, fence, number = ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = record_key(id)
local record = redis.call('HMGET', key, 'state', 'fence', 'deadline_ms', 'progress_number')
if record[1] ~= 'running' or record[2] ~= fence then return 'lost' end
if tonumber(record[3]) <= now_ms then return 'overdue' end
-- A number that was seen is the same call sent again because its answer was lost.
if number > tonumber(record[4] or 0) then
  redis.call('HSET', key, 'progress_number', number, 'progress', tell(id, ARGV[5]))
end
return 'go_on'
