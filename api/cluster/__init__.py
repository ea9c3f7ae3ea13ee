"""Work of a service on a Ray cluster; Ray is imported late, for a single machine never needs it."""
