"""What a Linux guest's shell tells of the attack surface."""
