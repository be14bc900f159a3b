-- A producer hands a job in. The same id with the same content is the same job.
-- ARGV: limits, id, job, accepted draft. Returns {verdict, state}: new | known | conflict.
local id, job = ARGV[2], cjson.decode(ARGV[3])
local known = redis.call('HMGET', record_key(id), 'digest', 'state')
if not known[1] then
  accept(id, job, ARGV[4])
  return {'new', 'queued'}
end
return {known[1] == job.digest and 'known' or 'conflict', known[2]}
