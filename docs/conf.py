"""Sphinx: ``sphinx-build -W docs build/docs``, with the extra ``docs``."""

from __future__ import annotations

import gcl

project = "gcl"
author = "The torch-gcl authors"
release = gcl.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"gcl {release}"
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]  # links to files beside docs/, which the repository shows

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

apidoc_modules = [
    {
        "path": "../gcl",
        "destination": "api",
        "separate_modules": True,
        "module_first": True,
        "implicit_namespaces": False,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_member_order = "bysource"
autodoc_default_options = {"ignore-module-all": True}  # a name is described once, where it is defined
autodoc_typehints = "signature"
autodoc_mock_imports = ["triton", "pyarrow", "torch_scatter"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes in a list, beside properties of the same name
