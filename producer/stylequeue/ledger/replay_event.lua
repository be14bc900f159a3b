-- An event that no consumer of a group was done with goes back to the group: the next one that looks takes it.
-- Returns queued | lost | unknown: it is kept no longer; there is no such group any more.
local position = arg.position
if redis.call('EXISTS', EVENTS_KEY) == 0 or #redis.call('XRANGE', EVENTS_KEY, position, position) == 0 then return 'lost' end
local told = redis.pcall('XCLAIM', EVENTS_KEY, arg.group, 'replayed', 0, position, 'IDLE', limits.max_deadline_ms,
  'RETRYCOUNT', 0, 'FORCE', 'JUSTID')
if type(told) == 'table' and told.err then return 'unknown' end
unbury(arg.id)
return 'queued'
