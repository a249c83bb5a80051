"""Curvature in pure torch: products with Hessians, eigenpairs. It knows nothing of studies and can be lifted out."""

from studyrun.curvature.eigen import Eigenpairs, top_eigenpairs
from studyrun.curvature.flat import PerExampleLoss, flatten, unflatten
from studyrun.curvature.gradients import gradient, group_gradients, losses
from studyrun.curvature.hessian import HessianOperator
from studyrun.curvature.operators import DenseOperator, SymmetricOperator

__all__ = [
    "DenseOperator",
    "Eigenpairs",
    "HessianOperator",
    "PerExampleLoss",
    "SymmetricOperator",
    "flatten",
    "gradient",
    "group_gradients",
    "losses",
    "top_eigenpairs",
    "unflatten",
]
