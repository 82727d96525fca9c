"""Settings of Hypothesis: the same examples on every run.

More of them, and new ones each time: ``python -m pytest --hypothesis-profile=explore tests/ops``.
"""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ci")

# A suite that was started in the background inherits an ignored SIGINT, and then Ctrl-C could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
