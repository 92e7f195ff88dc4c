"""The convex solver: features made ready, shared passes, preconditioner, batched L-BFGS."""
