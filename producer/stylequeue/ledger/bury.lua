-- A message that is no job goes to the dead letters as it is. ARGV: limits, id, entry {queue, code, reason, message}.
bury(ARGV[2], cjson.decode(ARGV[3]))
return ARGV[2]
