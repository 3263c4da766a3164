"""Recommenders of the library RecBole behind this library's contract."""
