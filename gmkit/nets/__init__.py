"""Networks: flax modules and nothing about training."""

from gmkit.nets.architectures import ENERGIES, GENERATORS, energy, generator
from gmkit.nets.decoder import Decoder, frozen_decoder, network_decoder
from gmkit.nets.layers import (
    BatchNorm,
    SNConv,
    SNDense,
    average_pool,
    halvings,
    leaky_relu,
    spectral_warmup,
    upsample,
    xavier_uniform,
)
from gmkit.nets.mlp import MLP, AffineGenerator, MLPEnergy, MLPGenerator
from gmkit.nets.resnet import EnergyBlock, ResNetEnergy, ResNetGenerator
from gmkit.nets.small import SmallEnergy, SmallGenerator
from gmkit.nets.sngan import DCGANEnergy, DCGANGenerator, SNGANEnergy, SNGANGenerator

__all__ = [
    "ENERGIES",
    "GENERATORS",
    "MLP",
    "AffineGenerator",
    "BatchNorm",
    "DCGANEnergy",
    "DCGANGenerator",
    "Decoder",
    "EnergyBlock",
    "MLPEnergy",
    "MLPGenerator",
    "ResNetEnergy",
    "ResNetGenerator",
    "SNConv",
    "SNDense",
    "SNGANEnergy",
    "SNGANGenerator",
    "SmallEnergy",
    "SmallGenerator",
    "average_pool",
    "energy",
    "frozen_decoder",
    "generator",
    "halvings",
    "leaky_relu",
    "network_decoder",
    "spectral_warmup",
    "upsample",
    "xavier_uniform",
]
