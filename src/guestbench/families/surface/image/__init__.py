"""What image files tell of the attack surface."""
