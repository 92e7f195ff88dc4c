"""The HDF5 store of features: written shard by shard, read block by block, checked on request.

`docs/cache-schema.md` describes the files; plain h5py can read them.
"""

from degradation.cache.pairs import PairEntry, check_paired, pairs, write_pair
from degradation.cache.reader import Features, open_features
from degradation.cache.schema import Key, PixelProtocol, Storage
from degradation.cache.shards import Shard, pooled_name, tokens_name
from degradation.cache.store import Store, is_complete, open_store
from degradation.cache.tidy import (
    CacheLine,
    KeptPictures,
    Problem,
    Removal,
    kept_pictures,
    listing,
    prune,
    verify,
)

__all__ = [
    "CacheLine",
    "Features",
    "KeptPictures",
    "Key",
    "PairEntry",
    "PixelProtocol",
    "Problem",
    "Removal",
    "Shard",
    "Storage",
    "Store",
    "check_paired",
    "is_complete",
    "kept_pictures",
    "listing",
    "open_features",
    "open_store",
    "pairs",
    "pooled_name",
    "prune",
    "tokens_name",
    "verify",
    "write_pair",
]
