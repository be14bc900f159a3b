-- A notification that was no good is wanted once more. It stays a letter until whoever listens is done with it.
-- Returns queued | unknown.
if redis.call('EXISTS', dead_key(arg.id)) == 0 then return 'unknown' end
redis.call('ZADD', NOTIFIED_AGAIN_KEY, 'NX', now_ms, arg.id)
return 'queued'
