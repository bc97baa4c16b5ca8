"""Rate limit actions that are extensions."""
