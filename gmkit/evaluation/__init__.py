"""Numbers about samples: feature spaces, distances between them, and tests."""

from gmkit.evaluation.attacks import judge_attack, save_submission
from gmkit.evaluation.class_balance import (
    ClassBalance,
    class_balance,
    pair_distance_correlation,
)
from gmkit.evaluation.classifier import (
    SmallClassifier,
    TrainedClassifier,
    classifier_features,
    trained_classifier,
)
from gmkit.evaluation.control import (
    disentangled_edit_strength,
    holds,
    mean_distance,
)
from gmkit.evaluation.density import DensityBaseline, gaussian_baseline, mixture_baseline
from gmkit.evaluation.features import Features, in_batches, pixel_features
from gmkit.evaluation.frechet import frechet_distance, frechet_from_moments, moments
from gmkit.evaluation.inception import InceptionV3, inception_features, inception_shapes
from gmkit.evaluation.kid import KID, cubic_kernel, kid, mmd2_unbiased
from gmkit.evaluation.modes import (
    ClassModes,
    MixtureModes,
    class_modes,
    mixture_modes,
    stacked_labels,
)
from gmkit.evaluation.planes import latent_grid, plane
from gmkit.evaluation.prdc import PRDC, prdc
from gmkit.evaluation.quality import QualityReport, metric_key, quality
from gmkit.evaluation.samples import SampleProtocol, judge_samples, sample_protocol
from gmkit.evaluation.spaces import feature_space
from gmkit.evaluation.three_sample import relative_mmd_test
from gmkit.evaluation.transport import (
    GradientCosines,
    Slopes,
    Transport,
    gradient_cosines,
    optimal_transport,
    slopes,
)
from gmkit.evaluation.wasserstein import wasserstein_1d

__all__ = [
    "KID",
    "PRDC",
    "ClassBalance",
    "ClassModes",
    "DensityBaseline",
    "Features",
    "GradientCosines",
    "InceptionV3",
    "MixtureModes",
    "QualityReport",
    "SampleProtocol",
    "Slopes",
    "SmallClassifier",
    "TrainedClassifier",
    "Transport",
    "class_balance",
    "class_modes",
    "classifier_features",
    "cubic_kernel",
    "disentangled_edit_strength",
    "feature_space",
    "frechet_distance",
    "frechet_from_moments",
    "gaussian_baseline",
    "gradient_cosines",
    "holds",
    "in_batches",
    "inception_features",
    "inception_shapes",
    "judge_attack",
    "judge_samples",
    "kid",
    "latent_grid",
    "mean_distance",
    "metric_key",
    "mixture_baseline",
    "mixture_modes",
    "mmd2_unbiased",
    "moments",
    "optimal_transport",
    "pair_distance_correlation",
    "pixel_features",
    "plane",
    "prdc",
    "quality",
    "relative_mmd_test",
    "sample_protocol",
    "save_submission",
    "slopes",
    "stacked_labels",
    "trained_classifier",
    "wasserstein_1d",
]
