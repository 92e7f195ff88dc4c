"""The cure: a frozen encoder, a small connector and a language model with LoRA, trained jointly."""

from degradation.lazy import lazy

_NAMES = {
    "ablation_frame": "socialfusion.transfer.frames",
    "default_settings": "socialfusion.defaults",
    "read_transfer": "socialfusion.transfer.records",
    "train_socialfusion": "socialfusion.run",
    "transfer_frame": "socialfusion.transfer.frames",
}
__all__ = list(_NAMES)
__getattr__ = lazy(__name__, _NAMES)
