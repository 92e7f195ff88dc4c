"""The evidence: which pictures, which encoders, and the cache of their features."""

from degradation.lazy import lazy

_NAMES = {
    "Protocol": "degradation.protocol",
    "extract_pair": "degradation.pair_features",
    "get_pair": "degradation.encoders.registry",
    "get_task": "degradation.tasks.registry",
    "load_encoder": "degradation.encoders.registry",
    "pair_of": "degradation.encoders.registry",
}
__all__ = list(_NAMES)
__getattr__ = lazy(__name__, _NAMES)
