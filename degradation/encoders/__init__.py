"""Vision encoders and the pairs they form: before and after visual-linguistic pre-training."""
