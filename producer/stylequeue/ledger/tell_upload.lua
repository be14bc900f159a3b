-- Tells, once, of an upload of which no job is made; `id` is the one that its job would have.
-- Returns whether it was told now.
if not redis.call('SET', refused_key(arg.id), 1, 'NX', 'PX', limits.record_ttl_ms) then return 0 end
local entry = {'event', arg.event}
for _, name in ipairs({'tenant', 'notify'}) do
  if arg[name] then
    table.insert(entry, name)
    table.insert(entry, arg[name])
  end
end
redis.call('XADD', EVENTS_KEY, 'MAXLEN', '~', limits.deployment_events, '*', unpack(entry))
redis.pcall('PUBLISH', lifecycle_channel(limits.database), arg.id)
return 1
