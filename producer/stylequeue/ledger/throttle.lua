-- A tenant asks for something, `count` times at once. It may do so every `interval_us`, and save up `burst` times: the
-- generic cell rate algorithm, whose one number is the moment until which what was asked for is paid off.
-- Returns {1 | 0, how often it may still ask, microseconds until it may ask as often as now, until all is saved up}.
local interval_us, burst = arg.interval_us, arg.burst
local now_us = time[1] * 1000000 + time[2]
local key = rate_key(arg.tenant)
local owed_us = math.max(tonumber(redis.call('GET', key) or 0) - now_us, 0)
local left_us = burst * interval_us - owed_us - arg.count * interval_us
if left_us < 0 then
  return {0, math.floor((burst * interval_us - owed_us) / interval_us), math.ceil(-left_us), math.ceil(owed_us)}
end
owed_us = owed_us + arg.count * interval_us
redis.call('SET', key, string.format('%.0f', now_us + owed_us), 'PX', math.ceil(owed_us / 1000))
return {1, math.floor(left_us / interval_us), 0, math.ceil(owed_us)}
