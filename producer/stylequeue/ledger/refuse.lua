-- A message that holds no valid job ends at once, on record and among the dead letters under its task id,
-- unless a job has that id. Where it is that very job, as a newer producer wrote it, the job ends.
-- ARGV: limits, id, job, failed draft, entry {queue, code, reason, message}. Returns {refused | known, event}.
local id = ARGV[2]
local message = cjson.decode(ARGV[3])
local known = redis.call('HMGET', record_key(id), 'state', 'digest', 'outcome', 'job')
if known[4] == '' then
  -- Replayed, and no better: it is a dead letter again.
  bury(id, cjson.decode(ARGV[5]))
  return {'known', known[3]}
end
if known[1] then
  if known[1] ~= 'queued' or known[2] ~= message.digest then return {'known', known[3] or ''} end
else
  create(id, message)
end
local event = finish(id, 'failed', ARGV[4])
bury(id, cjson.decode(ARGV[5]))
return {'refused', event}
