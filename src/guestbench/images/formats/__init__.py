"""One reader for each format of an image file."""
