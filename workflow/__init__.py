"""How notebooks become a study: stages, the runner of a job, the plan, and what comes after."""
