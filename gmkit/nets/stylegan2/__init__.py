"""StyleGAN2 (Karras et al. 2020) in the official implementation's numbers, names and formats."""

from gmkit.nets.stylegan2.configurations import (
    CONFIGURATIONS,
    Configuration,
    configuration,
    networks,
)
from gmkit.nets.stylegan2.dialects import from_rosinality, from_tensorflow
from gmkit.nets.stylegan2.discriminator import Discriminator
from gmkit.nets.stylegan2.files import Loaded, from_file, load, save
from gmkit.nets.stylegan2.generator import Generator
from gmkit.nets.stylegan2.latents import as_latent_generator, average_latent
from gmkit.nets.stylegan2.mapping import MappingNetwork, truncated
from gmkit.nets.stylegan2.pickles import PickleError
from gmkit.nets.stylegan2.synthesis import Synthesis
from gmkit.nets.stylegan2.weights import WeightsError, from_official, infer, n_params, to_official

__all__ = [
    "CONFIGURATIONS",
    "Configuration",
    "Discriminator",
    "Generator",
    "Loaded",
    "MappingNetwork",
    "PickleError",
    "Synthesis",
    "WeightsError",
    "as_latent_generator",
    "average_latent",
    "configuration",
    "from_file",
    "from_official",
    "from_rosinality",
    "from_tensorflow",
    "infer",
    "load",
    "n_params",
    "networks",
    "save",
    "to_official",
    "truncated",
]
