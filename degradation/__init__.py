"""The evidence: which pictures, which encoders, and the cache of their features."""
