"""Measuring networks: protocols that say what was measured, accuracy, and time."""
