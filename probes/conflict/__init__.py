"""Gradient conflict between tasks, GCD(i, j) = 1 - cos(g_i, g_j), with the noise taken out."""
