"""How notebooks become a study: the graph of jobs, the runner of a job, the plan, and what comes after."""
