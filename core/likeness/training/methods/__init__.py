"""Ways to train beside the ordinary one: networks of their own, several losses, phases."""

from likeness.training.methods.factory import build_method
from likeness.training.methods.specs import MethodSpec

__all__ = ["MethodSpec", "build_method"]
