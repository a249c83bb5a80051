"""Curvature in pure torch: products with Hessians, eigenpairs. It knows nothing of studies and can be lifted out."""

from studyrun.curvature.composite import DifferenceOperator, PreconditionedOperator
from studyrun.curvature.curvature_gradient import curvature_gradient
from studyrun.curvature.density import SpectralDensity, spectral_density
from studyrun.curvature.directional import DirectionalDerivatives, cosines_squared, directional_derivatives
from studyrun.curvature.eigen import Eigenpairs, top_eigenpairs
from studyrun.curvature.example_eigenvalues import ExampleEigenvalues, example_eigenvalues
from studyrun.curvature.examples import OperatorOverExamples
from studyrun.curvature.flat import PerExampleLoss, flatten, unflatten
from studyrun.curvature.gauss_newton import FisherOperator, GaussNewtonOperator
from studyrun.curvature.gradient_norms import GradientNorms, gradient_norms
from studyrun.curvature.gradients import gradient, group_gradients, losses
from studyrun.curvature.hessian import HessianOperator
from studyrun.curvature.hutchinson import TraceEstimate, operator_trace
from studyrun.curvature.operators import DenseOperator, SymmetricOperator
from studyrun.curvature.sizes import magnitudes, norms
from studyrun.curvature.stability import adam_threshold, momentum_threshold
from studyrun.curvature.warm import WarmStart

__all__ = [
    "DenseOperator",
    "DifferenceOperator",
    "DirectionalDerivatives",
    "Eigenpairs",
    "ExampleEigenvalues",
    "FisherOperator",
    "GaussNewtonOperator",
    "GradientNorms",
    "HessianOperator",
    "OperatorOverExamples",
    "PerExampleLoss",
    "PreconditionedOperator",
    "SpectralDensity",
    "SymmetricOperator",
    "TraceEstimate",
    "WarmStart",
    "adam_threshold",
    "cosines_squared",
    "curvature_gradient",
    "directional_derivatives",
    "example_eigenvalues",
    "flatten",
    "gradient",
    "gradient_norms",
    "group_gradients",
    "losses",
    "magnitudes",
    "momentum_threshold",
    "norms",
    "operator_trace",
    "spectral_density",
    "top_eigenpairs",
    "unflatten",
]
