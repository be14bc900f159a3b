-- The holder ends the job: record, event, indexes and counters in one move.
-- `painted`: what others may reuse, as JSON, or ''. `reused`: it is another's. `observed`: what was measured meanwhile.
-- Returns {done | lost, event}.
local id, state, painted = arg.id, arg.state, arg.painted
local record = redis.call('HMGET', record_key(id), 'state', 'fence', 'outcome', 'fingerprint')
if record[2] ~= arg.fence then return {stale(), ''} end
-- The same call sent again because its answer was lost.
if record[1] == state then return {'done', record[3]} end
if record[1] ~= 'running' then return {stale(), ''} end
for _, seen in ipairs(arg.observed) do observe(seen.name, seen.label, seen.value, seen.bounds) end
if arg.reused then count('reuses') end
if painted ~= '' and record[4] then
  redis.call('SET', painted_key(record[4]), painted, 'PX', limits.record_ttl_ms)
end
return {'done', finish(id, state, arg.terminal)}
