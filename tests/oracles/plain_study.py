"""The smallest study that does anything, for tests of what surrounds a run."""

PLAIN = """\
title: a plain study
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 3, points: 12}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 6}
probes:
  - loss
"""
