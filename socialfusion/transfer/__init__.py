"""Does training on several tasks help each of them? Joint and pairwise training against single."""
