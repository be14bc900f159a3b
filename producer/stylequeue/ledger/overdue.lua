-- What the keeper has to look at: running jobs whose lease ran out, open jobs whose deadline passed, ended jobs of which
-- whoever ended them has not told for so long that they may be gone.
-- Returns {{ids}, {ids}, {ids}}.
redis.call('SET', KEEPER_KEY, now_ms, 'PX', limits.max_deadline_ms)
for state in pairs(TERMINAL) do trim(state) end
local function passed(index, by_ms) return redis.call('ZRANGEBYSCORE', index, '-inf', by_ms, 'LIMIT', 0, arg.count) end
return {passed(LEASES_KEY, now_ms), passed(DEADLINES_KEY, now_ms), passed(UNTOLD_KEY, now_ms - arg.told_within_ms)}
