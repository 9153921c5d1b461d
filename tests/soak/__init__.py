"""A soak test: random trainings and sweeps are killed, stopped and damaged, and must end as if nothing had happened."""
