"""Smaller and faster models: low precision."""
