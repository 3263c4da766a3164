"""The three questions, and what their answers rest on: notebooks 70 to 74."""
