"""A scan of a guest from the other end of its link: packets, a host, ports. It has no metrics of its own."""
