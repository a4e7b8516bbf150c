"""How fast a guest's network is."""
