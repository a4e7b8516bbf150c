"""How large a guest's image files are."""
