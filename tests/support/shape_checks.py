"""The checker that `pytest --jaxtyping-packages=flowpwm,shape_checks.check` installs."""

from beartype import BeartypeConf, beartype

# An int is a float, as for every other type checker.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
