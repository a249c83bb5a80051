"""Curvature in pure torch: products with Hessians, eigenpairs. It knows nothing of studies and can be lifted out."""

from studyrun.curvature.eigen import Eigenpairs, top_eigenpairs
from studyrun.curvature.operators import DenseOperator, HessianOperator, SymmetricOperator

__all__ = ["DenseOperator", "Eigenpairs", "HessianOperator", "SymmetricOperator", "top_eigenpairs"]
