"""Numbers about samples: feature spaces, distances between them, and tests."""

from gmkit.evaluation.classifier import SmallClassifier, classifier_features
from gmkit.evaluation.density import DensityBaseline, gaussian_baseline, mixture_baseline
from gmkit.evaluation.features import Features, in_batches, pixel_features
from gmkit.evaluation.frechet import frechet_distance, frechet_from_moments, moments
from gmkit.evaluation.inception import InceptionV3, inception_features, inception_shapes
from gmkit.evaluation.kid import KID, cubic_kernel, kid, mmd2_unbiased
from gmkit.evaluation.planes import latent_grid, plane
from gmkit.evaluation.prdc import PRDC, prdc
from gmkit.evaluation.quality import QualityReport, metric_key, quality
from gmkit.evaluation.three_sample import relative_mmd_test
from gmkit.evaluation.wasserstein import wasserstein_1d

__all__ = [
    "KID",
    "PRDC",
    "DensityBaseline",
    "Features",
    "InceptionV3",
    "QualityReport",
    "SmallClassifier",
    "classifier_features",
    "cubic_kernel",
    "frechet_distance",
    "frechet_from_moments",
    "gaussian_baseline",
    "in_batches",
    "inception_features",
    "inception_shapes",
    "kid",
    "latent_grid",
    "metric_key",
    "mixture_baseline",
    "mmd2_unbiased",
    "moments",
    "pixel_features",
    "plane",
    "prdc",
    "quality",
    "relative_mmd_test",
    "wasserstein_1d",
]
