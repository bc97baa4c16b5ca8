"""UDP listener filters, and the session filters of the UDP proxy."""
