"""How much memory a guest needs and uses."""
