"""Floor 2: maps between what data sets hold and what models see."""

from gmkit.transforms.dequantisation import dequantise, from_unit, quantise, to_unit

__all__ = ["dequantise", "from_unit", "quantise", "to_unit"]
