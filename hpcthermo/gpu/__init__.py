"""One kernel source, two machines: compilers, backends and kernels."""
