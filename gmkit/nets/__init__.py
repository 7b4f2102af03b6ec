"""Networks: flax modules and nothing about training."""

from gmkit.nets.advgan import AdvGANDiscriminator, AdvGANGenerator
from gmkit.nets.architectures import ENCODERS, ENERGIES, GENERATORS, encoder, energy, generator
from gmkit.nets.decoder import PRIORS, Decoder, frozen_decoder, network_decoder
from gmkit.nets.distgan import DistDCGANEncoder, DistDCGANEnergy, DistDCGANGenerator
from gmkit.nets.embedder import DenseEmbedder
from gmkit.nets.layers import (
    ACTIVATIONS,
    INITIALISERS,
    BatchNorm,
    SNConv,
    SNDense,
    average_pool,
    gains,
    halvings,
    leaky_relu,
    spectral_warmup,
    upsample,
    xavier_uniform,
)
from gmkit.nets.mlp import (
    MLP,
    AffineGenerator,
    DenseMLPEnergy,
    EqualisedEnergy,
    MLPEncoder,
    MLPEnergy,
    MLPGenerator,
)
from gmkit.nets.projected import (
    DistResNetEncoder,
    DistResNetEnergy,
    DistResNetGenerator,
    LGANEnergy,
    LGANGenerator,
)
from gmkit.nets.resnet import EnergyBlock, ResNetEnergy, ResNetGenerator
from gmkit.nets.robust_vae import RobustVAEDecoder, RobustVAEEncoder, vae_stages
from gmkit.nets.small import SmallEnergy, SmallGenerator
from gmkit.nets.sngan import DCGANEnergy, DCGANGenerator, SNGANEnergy, SNGANGenerator
from gmkit.nets.stacked import StackedEncoder, StackedEnergy, StackedGenerator
from gmkit.nets.targets import CLASSIFIERS, classifier

__all__ = [
    "ACTIVATIONS",
    "CLASSIFIERS",
    "ENCODERS",
    "ENERGIES",
    "GENERATORS",
    "INITIALISERS",
    "MLP",
    "PRIORS",
    "AdvGANDiscriminator",
    "AdvGANGenerator",
    "AffineGenerator",
    "BatchNorm",
    "DCGANEnergy",
    "DCGANGenerator",
    "Decoder",
    "DenseEmbedder",
    "DenseMLPEnergy",
    "DistDCGANEncoder",
    "DistDCGANEnergy",
    "DistDCGANGenerator",
    "DistResNetEncoder",
    "DistResNetEnergy",
    "DistResNetGenerator",
    "EnergyBlock",
    "EqualisedEnergy",
    "LGANEnergy",
    "LGANGenerator",
    "MLPEncoder",
    "MLPEnergy",
    "MLPGenerator",
    "ResNetEnergy",
    "ResNetGenerator",
    "RobustVAEDecoder",
    "RobustVAEEncoder",
    "SNConv",
    "SNDense",
    "SNGANEnergy",
    "SNGANGenerator",
    "SmallEnergy",
    "SmallGenerator",
    "StackedEncoder",
    "StackedEnergy",
    "StackedGenerator",
    "average_pool",
    "classifier",
    "encoder",
    "energy",
    "frozen_decoder",
    "gains",
    "generator",
    "halvings",
    "leaky_relu",
    "network_decoder",
    "spectral_warmup",
    "upsample",
    "vae_stages",
    "xavier_uniform",
]
