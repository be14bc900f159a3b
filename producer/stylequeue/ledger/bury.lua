-- What came and is no job, or no notification, goes to the dead letters as it is.
bury(arg.id, arg.letter)
return arg.id
