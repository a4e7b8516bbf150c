"""What is found in an image: packages, users, units, programs, code."""
