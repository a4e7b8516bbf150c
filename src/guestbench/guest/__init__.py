"""What one does with a running guest, whatever runs it."""
