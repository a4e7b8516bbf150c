"""How long a guest takes from the exec of the VMM to each milestone and to ready."""
