-- The holder ends the job: record, event, indexes and counters in one move.
-- ARGV: limits, id, fence, state, terminal draft, painted ('' or JSON of what others may reuse).
-- Returns {done | lost, event}.
local id, fence, state = ARGV[2], ARGV[3], ARGV[4]
local record = redis.call('HMGET', record_key(id), 'state', 'fence', 'outcome', 'fingerprint')
if record[2] ~= fence then return {'lost', ''} end
-- The same call sent again because its answer was lost.
if record[1] == state then return {'done', record[3]} end
if record[1] ~= 'running' then return {'lost', ''} end
if ARGV[6] ~= '' and record[4] then
  redis.call('SET', painted_key(record[4]), ARGV[6], 'PX', limits.record_ttl_ms)
end
return {'done', finish(id, state, ARGV[5])}
