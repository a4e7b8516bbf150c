"""Page tables and registers of a stopped guest, by QEMU's monitor; no metrics of its own."""
