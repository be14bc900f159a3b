-- A message that holds no valid job ends at once, on record and among the dead letters under its task id,
-- unless a job has that id.
-- ARGV: limits, id, job, failed draft, entry {queue, code, reason, message}. Returns {refused | known, event}.
local id = ARGV[2]
local known = redis.call('HGET', record_key(id), 'outcome')
if known then return {'known', known} end
if redis.call('EXISTS', record_key(id)) == 1 then return {'known', ''} end
create(id, cjson.decode(ARGV[3]))
local event = finish(id, 'failed', ARGV[4])
bury(id, cjson.decode(ARGV[5]))
return {'refused', event}
