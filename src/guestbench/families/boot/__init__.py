"""Boot time."""
