"""Hooks that hand a pipeline's events to logging and metrics systems."""
