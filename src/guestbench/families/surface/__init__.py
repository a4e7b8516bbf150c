"""What of a guest an attacker can reach, and what stands in the way."""
