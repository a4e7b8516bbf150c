"""What a count of instructions by address says: which code ran, in which phase of a boot, and what grew."""
