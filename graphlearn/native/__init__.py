"""C++ kernels; each has a twin in torch operations, in ``ops`` or ``sampling``."""

from graphlearn.native.load import kernels

__all__ = ["kernels"]
