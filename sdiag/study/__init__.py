"""A whole study in one file: its schema, its plan, what is there already, and its execution."""
