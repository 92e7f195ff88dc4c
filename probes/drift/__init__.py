"""How far two representations of the same rows have drifted apart."""
