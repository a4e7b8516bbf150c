"""All that is QEMU's own: its command line, its monitor and their texts."""
