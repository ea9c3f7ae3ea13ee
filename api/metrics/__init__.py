"""What the service counts and measures of itself, in Prometheus' form; without anybody's names."""
