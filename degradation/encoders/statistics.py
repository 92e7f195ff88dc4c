"""Channel means and standard deviations that published towers normalise pixels with."""

__all__ = ["CLIP_STATISTICS", "HALF_STATISTICS", "IMAGENET_STATISTICS", "Statistics"]

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of red, green and blue in [0, 1]."""

CLIP_STATISTICS: Statistics = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_STATISTICS: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
