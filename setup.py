"""Package the project by setup.cfg, and with two folders of data that a checkout has beside the package."""
from setuptools import find_packages, setup

DATA = {"polysed_keras.saved_models": "saved_models", "polysed_keras.searches": "tuning"}

setup(packages=[*find_packages(include=["polysed_keras*"]), *DATA], package_dir=DATA)
