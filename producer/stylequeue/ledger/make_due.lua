-- Somebody misses the messages of queued jobs: fresh ones are due now.
for _, id in ipairs(arg.ids) do
  if redis.call('HGET', record_key(id), 'state') == 'queued' then make_due(id, now_ms) end
end
return 'due'
