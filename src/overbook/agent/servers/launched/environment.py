"""Which variables of this process a server gets: those that say how to run, and those that its owner names.

Models' code reads them all. So what is not known to be harmless stays here, keys and tokens of this user's before all.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Names that the owner adds, with commas between them; one that ends in `*` stands for all that begin so.
MORE: Final = "OVERBOOK_SERVER_VARIABLES"
_NAMES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TZDIR"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR", "NLTK_DATA"),
    }
)
# Of libraries that compute, and of what they are tuned with.
_PREFIXES: Final = (
    *(
        "LC_",
        "MALLOC_",
        "OMP_",
        "KMP_",
        "GOMP_",
        "OPENBLAS_",
        "MKL_",
        "BLIS_",
        "NUMEXPR_",
        "VECLIB_",
    ),
    *("CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_"),
    *(
        "TF_",
        "XLA_",
        "TORCH_",
        "TORCHINDUCTOR_",
        "PYTORCH_",
        "ORT_",
        "JAX_",
        "NUMBA_",
        "JOBLIB_",
        "LOKY_",
    ),
    *("HF_", "TRANSFORMERS_", "TOKENIZERS_"),
)
_SECRET: Final = re.compile(
    r"TOKEN(?!IZERS_)|SECRET|PASSW|CREDENTIAL|(API|ACCESS|PRIVATE|AUTH)_?KEY", re.IGNORECASE
)


def server_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a server gets of the parent's environment."""
    more = [each.strip() for each in inherited.get(MORE, "").split(",")]
    named = frozenset(more)
    begun = tuple(each[:-1] for each in more if each.endswith("*") and each != "*")
    return {
        name: value
        for name, value in inherited.items()
        if name in named or name.startswith(begun) or _is_known(name)
    }


def _is_known(name: str) -> bool:
    return name in _NAMES or (name.startswith(_PREFIXES) and not _SECRET.search(name))
