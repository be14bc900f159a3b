-- A message that is no job goes to the dead letters as it is.
bury(arg.id, arg.letter)
return arg.id
