"""How fast a guest does the same work as the others."""
