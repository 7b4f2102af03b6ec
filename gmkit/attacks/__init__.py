"""Adversarial attacks on any classifier `x -> logits`, as pure functions."""

from gmkit.attacks.attack import (
    Attack,
    Bounds,
    Logits,
    attack_images,
    from_unit,
    host_model,
    perturb,
    to_unit,
)
from gmkit.attacks.auto import apgd, apgd_targeted, auto_attack, checkpoints
from gmkit.attacks.carlini_wagner import carlini_wagner_l2, carlini_wagner_linf
from gmkit.attacks.first_order import bim, fgsm, mi_fgsm, pgd, random_fgsm
from gmkit.attacks.losses import (
    LOSSES,
    cross_entropy,
    dlr,
    margin,
    objective,
    targeted_dlr,
    targeted_margin,
    untargeted_margin,
)
from gmkit.attacks.square import square

__all__ = [
    "LOSSES",
    "Attack",
    "Bounds",
    "Logits",
    "apgd",
    "apgd_targeted",
    "attack_images",
    "auto_attack",
    "bim",
    "carlini_wagner_l2",
    "carlini_wagner_linf",
    "checkpoints",
    "cross_entropy",
    "dlr",
    "fgsm",
    "from_unit",
    "host_model",
    "margin",
    "mi_fgsm",
    "objective",
    "perturb",
    "pgd",
    "random_fgsm",
    "square",
    "targeted_dlr",
    "targeted_margin",
    "to_unit",
    "untargeted_margin",
]
