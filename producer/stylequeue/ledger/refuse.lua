-- A message that is no job ends at once, on record under its task id, unless a job has that id.
-- ARGV: limits, id, job, failed draft. Returns {refused | known, event}.
local id = ARGV[2]
local known = redis.call('HGET', record_key(id), 'outcome')
if known then return {'known', known} end
if redis.call('EXISTS', record_key(id)) == 1 then return {'known', ''} end
create(id, cjson.decode(ARGV[3]))
return {'refused', finish(id, 'failed', ARGV[4])}
