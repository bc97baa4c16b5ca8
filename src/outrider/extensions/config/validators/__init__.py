"""Validators of configuration updates."""
