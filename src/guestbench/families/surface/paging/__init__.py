"""Page tables and registers of a stopped guest; no metrics of its own."""
