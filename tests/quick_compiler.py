"""Settings of XLA with which tests compile quickly: they compile for seconds and run for milliseconds."""

from __future__ import annotations

from importlib.metadata import version

# Later versions may not know the flag for fusions, and XLA ends a process that sets one that it does not know.
_HAS_TWO_EMITTERS = version("jaxlib").startswith("0.10.")

# Unoptimised code compiles in half the time, and again in two thirds of that without the newer code for fusions.
FLAGS = "--xla_backend_optimization_level=0"
# Compiles one program as a user's process does, where a test looks at what the compiler made.
AS_USERS_HAVE_IT: dict[str, bool] = {}
if _HAS_TWO_EMITTERS:
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
    AS_USERS_HAVE_IT["xla_cpu_use_fusion_emitters"] = True
