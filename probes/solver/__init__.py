"""Convex probes: batched L-BFGS, multinomial logistic regression, and the estimator for it."""
