"""The section about trained SocialFusion models: curves, baselines, answers."""
