"""The operations of ``gcl.ops`` as Triton kernels, one file a kernel; imported on first use only."""
