"""The sections about joint against single training, and about ablations."""
