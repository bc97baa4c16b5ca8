"""Active health checks: `session` is the state machine of one host, `probe` what asks it, `checkers` owns them all."""
