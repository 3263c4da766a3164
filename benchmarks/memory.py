"""How much memory a benchmark's process has held."""

from pathlib import Path


def peak_megabytes():
    """Most memory of this process; getrusage would count what its parent had when it was forked."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
