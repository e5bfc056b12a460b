"""What a run reports: losses, rates, traces and recompilations."""
