"""What usually goes wrong with an installation: one small check for each trouble, and what to do about it."""
