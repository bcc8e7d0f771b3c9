"""RankSim on CUDA with Triton kernels."""
