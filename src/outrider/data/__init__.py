"""Values that travel: addresses, header maps, stream info, response flags, shared-memory limits. No I/O, no clock."""
