"""What travels: jobs, recipes, events, errors. Nothing here knows how it travels."""
