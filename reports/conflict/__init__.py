"""The section about gradient conflict: tables, maps and words."""
