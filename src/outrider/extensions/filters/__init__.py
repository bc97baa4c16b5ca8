"""Filters: `listener`, `network`, `http`."""
