"""What users write in TOML, read into types, with every mistake of a file said at once."""
