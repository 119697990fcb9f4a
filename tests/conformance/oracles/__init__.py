"""Drivers of third-party code: plain functions from arrays to arrays, one module for each package.

A driver builds the model or graph that reaches one operator of its package and runs it. It holds no arithmetic of its
own beyond what the package's own callers do, and nothing of the project.
"""
