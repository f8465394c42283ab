"""Names the packages; all else is in pyproject.toml, which cannot put the sample of `data/` into a wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["kb*", "ingest*", "app*"]), "kb.sample_data"],
    package_dir={"kb.sample_data": "data/sample"},
)
