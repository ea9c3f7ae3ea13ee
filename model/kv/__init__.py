"""Keys and values of what has been read."""
