"""Library of the thesis workbook: pretrained audio representations for music recommendation.

Notebooks import this package; it never imports a notebook or the workflow. Modules are nouns of the field:
``study`` (parameters and paths), ``datasets``, ``listening``, ``splits``, ``audio``, ``backends``, ``extraction``,
``vectors``, ``scaling``, ``recommenders``, ``permutations``, ``evaluation``, ``statistics``, ``figures``.
"""

__version__ = "0.1.0"
