"""Implementation for CUDA with Triton kernels."""
