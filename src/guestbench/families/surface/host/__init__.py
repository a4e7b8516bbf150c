"""What a machine offers the guest towards the host."""
