"""From uploaded bytes to a published document."""
