-- A producer hands a job in. The same id with the same content is the same job.
-- Returns {verdict, state}: new | known | conflict | full.
local id, job = arg.id, arg.job
local known = redis.call('HMGET', record_key(id), 'digest', 'state')
if known[1] then return {known[1] == job.digest and 'known' or 'conflict', known[2]} end
if redis.call('ZCARD', queue_key(job.queue)) >= limits.max_open_jobs then return {'full', ''} end
accept(id, job, arg.accepted)
return {'new', 'queued'}
