"""How properties are tried: time is no reason to fail, since the machine may be busy or its caches cold."""

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
