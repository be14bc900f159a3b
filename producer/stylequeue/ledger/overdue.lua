-- What the keeper has to look at: running jobs whose lease ran out, open jobs whose deadline passed.
-- ARGV: limits, how many of each at most. Returns {{ids}, {ids}}.
local function passed(index) return redis.call('ZRANGEBYSCORE', index, '-inf', now_ms, 'LIMIT', 0, ARGV[2]) end
return {passed(LEASES_KEY), passed(DEADLINES_KEY)}
